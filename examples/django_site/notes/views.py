"""One view for each feature that a site needs from its server."""

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
    """Count the visits of this browser, in a session."""
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return render(request, "notes/index.html", {"visits": visits, "pid": os.getpid(), "notes": Note.objects.all()[:20]})


@require_POST
def write(request: HttpRequest) -> HttpResponse:
    """Write a note from the form of the first page into the database."""
    form = NoteForm(request.POST)
    if form.is_valid():
        form.save()
    return redirect("index")


@login_required
def private(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Only for you, {request.user.get_username()}.\n", content_type=PLAIN)


def upload(request: HttpRequest) -> HttpResponse:
    """Take a form with a file. A large file is written to a temporary file, and never held in memory as a whole."""
    if request.method != "POST" or "file" not in request.FILES:
        return render(request, "notes/upload.html")
    file, digest = request.FILES["file"], hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Send one line every 0.2 s."""

    def lines() -> Iterator[str]:
        for number in range(5):
            if number:
                time.sleep(0.2)
            yield f"line {number}\n"

    response = StreamingHttpResponse(lines(), content_type=PLAIN)
    response["X-Accel-Buffering"] = "no"  # without this header, nginx collects a response before it passes it on
    return response


def last_change(request: HttpRequest) -> datetime | None:
    return Note.objects.values_list("changed", flat=True).first()


def latest_etag(request: HttpRequest) -> str:
    return f'"{last_change(request)}"'


@condition(etag_func=latest_etag, last_modified_func=last_change)
def latest(request: HttpRequest) -> HttpResponse:
    """Send the newest note, or 304 to a client that already has it."""
    note = Note.objects.first()
    return HttpResponse(f"{note.title}\n\n{note.text}\n" if note else "no note yet\n", content_type=PLAIN)


def download(request: HttpRequest) -> FileResponse:
    """Send a file, here this one. Django closes the file when it is sent."""
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="views.py")


def greet(request: HttpRequest, name: str) -> HttpResponse:
    """Answer at a path with characters beyond ASCII, before and after the slash."""
    return HttpResponse(f"Grüße, {name}! This is {request.path}\n", content_type=PLAIN)


def headers(request: HttpRequest) -> JsonResponse:
    """Show the headers of the request and their size, to try long cookies."""
    size = sum(len(name) + len(value) for name, value in request.headers.items())
    return JsonResponse({"count": len(request.headers), "size": size, "headers": dict(request.headers)})
