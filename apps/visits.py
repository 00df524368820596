"""What visitors do: the main job of each application, over its real protocol."""

import re
import subprocess
import sys
import uuid

import requests

_EVENT = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//wsgid//apps//EN\r
BEGIN:VEVENT\r
UID:{uid}\r
DTSTAMP:20260101T100000Z\r
DTSTART:20260101T100000Z\r
SUMMARY:lunch {uid}\r
END:VEVENT\r
END:VCALENDAR\r
"""
_REPORT = """<?xml version="1.0"?>
<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><C:calendar-data/></D:prop>
<C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>"""

# A visitor of Socket.IO is a program of its own, as in tests/site/requests/test_upgrades.py.
_SOCKETIO = """
import socketio, sys
visitors = [socketio.SimpleClient() for _ in range(2)]
for visitor in visitors:
    visitor.connect(sys.argv[1], transports=["websocket"])
visitors[0].emit("say", "hello")
print(*[visitor.receive(timeout=20)[1] for visitor in visitors])
for visitor in visitors:
    visitor.disconnect()
"""


def radicale(url: str) -> None:
    """CalDAV: make a calendar, put events, find them, delete one."""
    with requests.Session() as session:
        session.auth = ("anna", "secret")
        calendar = f"{url}/anna/{uuid.uuid4()}/"
        assert session.request("MKCALENDAR", calendar).status_code == 201
        for number in range(5):
            event = _EVENT.format(uid=number)
            assert session.put(f"{calendar}{number}.ics", event, headers={"Content-Type": "text/calendar"}).ok
        found = session.request("REPORT", calendar, data=_REPORT, headers={"Depth": "1"})
        assert found.status_code == 207 and found.text.count("SUMMARY:lunch") == 5, found.text
        assert session.delete(f"{calendar}0.ics").status_code == 200
        assert session.get(f"{calendar}1.ics").text.count("SUMMARY:lunch 1") == 1


def pypiserver(url: str) -> None:
    """Upload a package as twine does, and let pip download it."""
    name = f"thing{uuid.uuid4().hex[:8]}"
    wheel = _wheel(name)
    files = {"content": (f"{name}-1.0-py3-none-any.whl", wheel)}
    form = {":action": "file_upload", "name": name, "version": "1.0", "filetype": "bdist_wheel"}
    assert requests.post(url + "/", data=form, files=files, auth=("a", "b")).status_code == 200
    assert f"{name}-1.0-py3-none-any.whl" in requests.get(f"{url}/simple/{name}/").text
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--isolated", "--no-cache-dir"]
    subprocess.run([*pip, "--dest", "/dev/shm", "--index-url", f"{url}/simple/", name], check=True)
    subprocess.run(["rm", f"/dev/shm/{name}-1.0-py3-none-any.whl"], check=True)


def _wheel(name: str) -> bytes:
    import io
    import zipfile

    info = f"{name}-1.0.dist-info"
    parts = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: wsgid\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in parts.items():
            archive.writestr(path, text)
    return made.getvalue()


def isso(url: str) -> None:
    """Write a comment, and read it."""
    page, text = f"/page-{uuid.uuid4()}/", f"nice {uuid.uuid4()}"
    comment = {"author": "me", "email": "", "website": "", "text": text, "title": "a page"}
    headers = {"Origin": "http://blog.example", "Referer": "http://blog.example/"}
    assert requests.post(f"{url}/new", params={"uri": page}, json=comment, headers=headers).status_code == 201
    found = requests.get(f"{url}/", params={"uri": page}, headers=headers).json()
    assert found["total_replies"] == 1 and text in found["replies"][0]["text"], found


def trac(url: str) -> None:
    """Open a ticket, and find it."""
    summary = f"broken {uuid.uuid4()}"
    with requests.Session() as session:
        form = session.get(f"{url}/newticket")
        token = re.search(r'name="__FORM_TOKEN" value="(\w+)"', form.text)
        assert form.status_code == 200 and token
        fields = {
            "__FORM_TOKEN": token[1],
            "field_summary": summary,
            "field_description": "it does not work",
            "field_status": "new",
            "field_type": "defect",
            "field_priority": "major",
            "submit": "Create ticket",
        }
        made = session.post(f"{url}/newticket", data=fields)
        assert made.status_code == 200 and "/ticket/" in made.url and summary in made.text, made.text[:2000]
        assert summary in session.get(f"{url}/query?status=new&max=0").text


def zope(url: str) -> None:
    """Add a folder and a document by the management screens, and visit the document."""
    name = f"f{uuid.uuid4().hex}"
    with requests.Session() as session:
        session.auth = ("admin", "secret")
        made = session.post(f"{url}/manage_addProduct/OFSP/manage_addFolder", data={"id": name, "title": "a folder"})
        assert made.status_code == 200, made.text[:2000]
        page = {"id": "page", "title": "hello", "file": "<b>hello from zope</b>"}
        session.post(f"{url}/{name}/manage_addProduct/OFSP/manage_addDTMLMethod", data=page)
        assert "hello" in session.get(f"{url}/{name}/page").text


def wagtail(url: str) -> None:
    """Sign in as an editor, publish a page, and read it as a visitor."""
    title = f"news {uuid.uuid4()}"
    with requests.Session() as session:
        form = session.get(f"{url}/admin/login/")
        assert form.status_code == 200
        session.headers["Referer"] = f"{url}/admin/login/"
        secret = {"username": "admin", "password": "secret", "csrfmiddlewaretoken": session.cookies["csrftoken"]}
        assert session.post(f"{url}/admin/login/", data=secret | {"next": "/admin/"}).url.endswith("/admin/")
        fields = {"title": title, "slug": title.replace(" ", "-"), "action-publish": "1"}
        fields |= {"seo_title": "", "search_description": "", "go_live_at": "", "expire_at": ""}
        fields |= {"csrfmiddlewaretoken": session.cookies["csrftoken"]}
        fields |= {f"comments-{part}_FORMS": "0" for part in ("TOTAL", "INITIAL")}
        made = session.post(f"{url}/admin/pages/add/home/homepage/3/", data=fields)
        assert made.status_code == 200 and title in made.text, made.text[:3000]
        assert title in requests.get(f"{url}/{title.replace(' ', '-')}/").text


def mlflow(url: str) -> None:
    """Over its REST interface, as its client does: an experiment, a run with metrics, and the search for the run."""
    api = f"{url}/api/2.0/mlflow"
    made = requests.post(f"{api}/experiments/create", json={"name": f"try {uuid.uuid4()}"}).json()
    run = requests.post(f"{api}/runs/create", json={"experiment_id": made["experiment_id"]}).json()["run"]["info"]
    for step in range(3):
        metric = {"run_id": run["run_id"], "key": "loss", "value": 1 / (step + 1), "timestamp": step, "step": step}
        assert requests.post(f"{api}/runs/log-metric", json=metric).status_code == 200
    found = requests.post(f"{api}/runs/search", json={"experiment_ids": [made["experiment_id"]]}).json()
    assert found["runs"][0]["data"]["metrics"][0]["key"] == "loss", found


def flask_socketio(url: str) -> None:
    """Two visitors by WebSocket: what one says, both hear."""
    done = subprocess.run([sys.executable, "-c", _SOCKETIO, url], capture_output=True, text=True, timeout=60)
    assert done.stdout == "hello hello\n", done.stderr[-2000:]
