"""The addresses of the site."""

from django.contrib import admin
from django.urls import path
from notes import views

urlpatterns = [
    path("", views.index, name="index"),
    path("admin/", admin.site.urls),
    path("write/", views.write, name="write"),
    path("private/", views.private, name="private"),
    path("upload/", views.upload, name="upload"),
    path("stream/", views.stream, name="stream"),
    path("latest/", views.latest, name="latest"),
    path("download/", views.download, name="download"),
    path("grüße/<str:name>/", views.greet, name="greet"),
    path("headers/", views.headers, name="headers"),
]
