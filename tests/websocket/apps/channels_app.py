"""Django Channels: its consumers, in threads and in the event loop, its routing, its authentication, and groups."""

import django
from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path, re_path

from tests.websocket.apps import tell

settings.configure(
    ALLOWED_HOSTS=["parity", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "channels"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    AUTHENTICATION_BACKENDS=[f"{__name__}.Backend"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402

ANN = User(pk=7, username="ann", password="none")


class Backend:
    """One user, without a database."""

    def get_user(self, number):
        return ANN if number == ANN.pk else None


def login(request):
    """A session as Django's own login makes it."""
    request.session[SESSION_KEY] = str(ANN.pk)
    request.session[BACKEND_SESSION_KEY] = f"{__name__}.Backend"
    request.session[HASH_SESSION_KEY] = ANN.get_session_auth_hash()
    return HttpResponse("hello, Ann")


urlpatterns = [path("login", login)]


class Tells:
    @property
    def key(self):
        return self.scope["url_route"]["kwargs"]["key"]


class Echo(Tells, AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code):
        tell(self.key, f"disconnect {code}")


class SyncEcho(Tells, WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)

    def disconnect(self, code):
        tell(self.key, f"disconnect {code}")


class Subprotocol(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept(subprotocol="chat.v2")
        await self.send(" ".join(self.scope["subprotocols"]))
        await self.close()


class Fields(AsyncJsonWebsocketConsumer):
    async def connect(self):
        asked = dict(self.scope["headers"])[b"x-asked"].decode()
        query = self.scope["query_string"].decode().removeprefix("q=")
        await self.accept(headers=[(b"x-own", b"yes"), (b"set-cookie", b"seen=1")])
        await self.send_json([asked, query, self.scope["cookies"]["name"]])
        await self.close()


class Deny(AsyncWebsocketConsumer):
    async def connect(self):
        raise DenyConnection


class SyncDeny(WebsocketConsumer):
    def connect(self):
        self.close()


class AcceptByRaising(AsyncWebsocketConsumer):
    async def connect(self):
        raise AcceptConnection


class Denial(AsyncConsumer):
    async def websocket_connect(self, message):
        headers = [(b"x-why", b"money")]
        await self.send({"type": "websocket.http.response.start", "status": 402, "headers": headers})
        await self.send({"type": "websocket.http.response.body", "body": b"pay first"})

    async def websocket_disconnect(self, message):
        raise StopConsumer


class Close(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.close(4001, "the application's reason")


class Fail(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        raise ValueError("the application failed")


class FailEarly(AsyncWebsocketConsumer):
    async def connect(self):
        raise ValueError("the application failed")


class Late(Tells, AsyncWebsocketConsumer):
    async def disconnect(self, code):
        tell(self.key, f"disconnect {code}")
        try:
            await self.base_send({"type": "websocket.send", "text": "is anybody there?"})
        except OSError as error:
            tell(self.key, f"send raised {type(error).__name__}")


class Json(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json({"number": content["number"] + 1})


class SyncJson(JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json({"number": content["number"] + 1})


class Room(Tells, AsyncJsonWebsocketConsumer):
    """Everybody in the room named by the path hears what one says, and who leaves."""

    async def connect(self):
        self.groups = [self.key]
        await self.channel_layer.group_add(self.key, self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        await self.channel_layer.group_send(self.key, {"type": "room.said", "words": content["words"]})

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.key, self.channel_name)
        await self.channel_layer.group_send(self.key, {"type": "room.said", "words": f"left with {code}"})

    async def room_said(self, event):
        await self.send_json({"words": event["words"]})


class SyncRoom(Tells, JsonWebsocketConsumer):
    """The same, in threads: the layer adds and removes us, by the name of the group."""

    groups = ("everybody",)

    def receive_json(self, content):
        async_to_sync(self.channel_layer.group_send)("everybody", {"type": "room.said", "words": content["words"]})

    def room_said(self, event):
        self.send_json({"words": event["words"]})


class WhoAmI(Tells, AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        user = self.scope["user"]
        await self.send_json({"name": user.get_username(), "authenticated": user.is_authenticated})
        await self.close()


CONSUMERS = {
    "echo": Echo,
    "sync-echo": SyncEcho,
    "subprotocol": Subprotocol,
    "fields": Fields,
    "deny": Deny,
    "sync-deny": SyncDeny,
    "accept-by-raising": AcceptByRaising,
    "denial": Denial,
    "close": Close,
    "fail": Fail,
    "fail-early": FailEarly,
    "late": Late,
    "json": Json,
    "sync-json": SyncJson,
    "room": Room,
    "sync-room": SyncRoom,
    "who-am-i": WhoAmI,
}
routes = [re_path(rf"^{name}/(?P<key>[^/]+)$", consumer.as_asgi()) for name, consumer in CONSUMERS.items()]
routes.append(re_path(r"^own-pages/(?P<key>[^/]+)$", AllowedHostsOriginValidator(Echo.as_asgi())))

app = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": AuthMiddlewareStack(URLRouter(routes))})
