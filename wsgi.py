"""What gunicorn and ``flask --app wsgi`` load: ``app``."""

import os
import sys

from app import create_app
from app.config import Settings, SettingsError

try:
    app = create_app(Settings.from_environ(os.environ))
except SettingsError as error:
    # gunicorn.conf.py has checked before the first worker was made; this is for the flask command.
    sys.exit(str(error))
