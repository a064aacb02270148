"""A Django project as `startproject` lays it out: settings, urls, wsgi."""
