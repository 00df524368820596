"""One view for each thing that a site wants of its server."""

import hashlib
import os
import time
from collections.abc import Iterator
from datetime import datetime

from django.contrib.auth.decorators import login_required
from django.forms import modelform_factory
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import condition, require_POST

from notes.models import Note

PLAIN = "text/plain; charset=utf-8"
NoteForm = modelform_factory(Note, fields=["title"])


def index(request: HttpRequest) -> HttpResponse:
    """A session: how often this browser was here."""
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return render(request, "notes/index.html", {"visits": visits, "pid": os.getpid(), "notes": Note.objects.all()[:20]})


@require_POST
def write(request: HttpRequest) -> HttpResponse:
    """A note from the form of the first page, to the database."""
    form = NoteForm(request.POST)
    if form.is_valid():
        form.save()
    return redirect("index")


@login_required
def private(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Only for you, {request.user.get_username()}.\n", content_type=PLAIN)


def upload(request: HttpRequest) -> HttpResponse:
    """A form with a file: a large one is in a temporary file, never as a whole in memory."""
    if request.method != "POST" or "file" not in request.FILES:
        return render(request, "notes/upload.html")
    file, digest = request.FILES["file"], hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """One line every 0.2 s."""

    def lines() -> Iterator[str]:
        for number in range(5):
            if number:
                time.sleep(0.2)
            yield f"line {number}\n"

    response = StreamingHttpResponse(lines(), content_type=PLAIN)
    response["X-Accel-Buffering"] = "no"  # nginx collects a response before it passes it on, unless it is told not to
    return response


def last_change(request: HttpRequest) -> datetime | None:
    return Note.objects.values_list("changed", flat=True).first()


def latest_etag(request: HttpRequest) -> str:
    return f'"{last_change(request)}"'


@condition(etag_func=latest_etag, last_modified_func=last_change)
def latest(request: HttpRequest) -> HttpResponse:
    """The newest note, or 304 to whoever has it already."""
    note = Note.objects.first()
    return HttpResponse(f"{note.title}\n\n{note.text}\n" if note else "no note yet\n", content_type=PLAIN)


def download(request: HttpRequest) -> FileResponse:
    """A file, here this one; Django closes it when it is sent."""
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="views.py")


def greet(request: HttpRequest, name: str) -> HttpResponse:
    """A path beyond ASCII, on both sides of the slash."""
    return HttpResponse(f"Grüße, {name}! This is {request.path}\n", content_type=PLAIN)


def headers(request: HttpRequest) -> JsonResponse:
    """What came with the request, and how much of it: to try long cookies."""
    size = sum(len(name) + len(value) for name, value in request.headers.items())
    return JsonResponse({"count": len(request.headers), "size": size, "headers": dict(request.headers)})
