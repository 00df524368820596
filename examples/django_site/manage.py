#!/usr/bin/env python
"""Django's command line for this site (README.md has more).

python manage.py migrate
python manage.py createsuperuser
python manage.py collectstatic
wsgid --socket site.sock --workers 4 mysite.wsgi:application
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    execute_from_command_line(sys.argv)
