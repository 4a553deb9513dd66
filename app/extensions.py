"""The Flask extensions, made once and bound to an application in ``create_app``."""

from flask_login import LoginManager
from flask_sock import Sock
from flask_wtf import CSRFProtect

from app.database import db

sock = Sock()
login_manager = LoginManager()
csrf = CSRFProtect()

__all__ = ["csrf", "db", "login_manager", "sock"]
