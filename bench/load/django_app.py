"""A Django application with one route that answers 13 bytes, and no middleware."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for benchmarks only")
django.setup()


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello, World!")


urlpatterns = [path("", hello)]
application = get_wsgi_application()
