"""The settings of a small site with sessions in cookies and a database in a file."""

import os
import tempfile

SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.wsgi.apps.django_project.urls"
WSGI_APPLICATION = "tests.wsgi.apps.django_project.wsgi.application"
INSTALLED_APPS = ["django.contrib.sessions"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(tempfile.mkdtemp(prefix="django-"), "site.sqlite3"),
        "CONN_MAX_AGE": None,
    }
}
# Small enough for an upload of the tests to go to a file.
FILE_UPLOAD_MAX_MEMORY_SIZE = 100_000
USE_TZ = True
