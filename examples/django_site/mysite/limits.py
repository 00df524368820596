"""Limits that all workers share, as a middleware of Django. docs/limits.md

MIDDLEWARE = ["mysite.limits.Limits", ...]        with DJANGO_LIMITS=1, settings.py does that
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from wsgid import limits

pages = limits.RequestRate("20r/s", burst=40, delay=False, name="pages")
writes = limits.WindowCount(30, seconds=60, name="writes")


class Limits:
    """Limits the requests of each visitor, and more strictly the forms of each visitor."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limiter = limits.combine(pages, writes) if request.method == "POST" else pages
        permit = limiter.acquire(request.META.get("REMOTE_ADDR") or "unknown")
        if not permit:
            return self.process_exception(request, permit)
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer a Rejected that a limit of a view has raised."""
        if not isinstance(error, limits.Rejected):
            return None
        return HttpResponse("too many requests\n", status=429, headers=dict(error.answer_headers))
