"""A stack of middleware, each as its documentation says: WhiteNoise, werkzeug's, filters of a Paste configuration.

From the outside in: WhiteNoise, ProxyFix, the profiler, the composite that the configuration makes (a site, and another
at a prefix behind one more filter), and the validator around the innermost application.
"""

import os
import tempfile
from pathlib import Path

from paste.deploy import loadapp
from werkzeug.middleware.profiler import ProfilerMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from whitenoise import WhiteNoise

STATIC = Path(__file__).with_name("django_project")

profiles = tempfile.TemporaryDirectory()
stack = loadapp("config:stack.ini", relative_to=os.path.dirname(__file__))
stack = ProfilerMiddleware(stack, stream=None, profile_dir=profiles.name, filename_format="{method}.prof")
stack = ProxyFix(stack, x_for=1, x_proto=1, x_host=1, x_prefix=1)
app = WhiteNoise(stack, root=STATIC, prefix="static/", autorefresh=False)
