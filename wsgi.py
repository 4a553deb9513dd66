"""What gunicorn and ``flask --app wsgi`` load: ``app``."""

import gc
import os
import sys

gc.disable()  # what is imported stays: to look for garbage meanwhile is a seventh of a command's start

from app import create_app
from app.config import Settings, SettingsError

gc.enable()

try:
    app = create_app(Settings.from_environ(os.environ))
except SettingsError as error:
    # gunicorn.conf.py has checked before the first worker was made; this is for the flask command.
    sys.exit(str(error))
