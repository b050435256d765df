"""The painting page's server without a browser: routes, who may ask, what is refused."""

import asyncio
import base64
import itertools
import json
import logging
import struct
import zlib

import cv2
import exports
import numpy as np
import pytest
from helpers import conformance_options, random_arrays, shallow_networks, tiny_config

from semantic_synthesis import data
from semantic_synthesis.files import shipped

pytest.importorskip("fastapi")

from semantic_synthesis.runs import build_method, write_run
from semantic_synthesis.serving import page_routes, paint
from semantic_synthesis.serving.live_run import LiveRun, name_of
from semantic_synthesis.serving.page_routes import add_page
from semantic_synthesis.serving.server import ServeOptions, make_app
from semantic_synthesis.serving.service import Service

HOST = {"host": "127.0.0.1:8510"}
FILE = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def app():
    """The page's ASGI application over a tiny run with a style per region."""
    runs = {"regions": LiveRun("regions", exports.run_dir("regions"), most_rows=8)}
    with shallow_networks(exports.STRIDES):
        runs["regions"].open()
    served = ServeOptions(max_body_mb=1, num_threads=1)
    access = paint.page_access(paint.PaintOptions(), served)
    service = Service(served, runs)
    return make_app(service, access, logging.getLogger("test"), lambda one: add_page(one, service, runs))


def ask(app, method, path, body=b"", headers=HOST):
    """(status, headers, body) of one request."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "scheme": "http",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8510),
        "headers": [(key.encode(), value.encode()) for key, value in {**HOST, **headers}.items()],
    }
    sent, received = [], iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive():
        return next(received, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    async def run():
        await app(scope, receive, send)

    LOOP.run_until_complete(run())
    found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


LOOP = asyncio.new_event_loop()


def error_of(answer):
    return answer[0], json.loads(answer[2])["error"]


def png_row(label, instance, **more):
    files = {
        "label_png_bytes": exports.png(label),
        "instance_png_bytes": exports.png(instance.astype(np.uint16)),
    }
    return {key: {"b64": base64.b64encode(value).decode()} for key, value in files.items()} | more


def predict(app, signature, row):
    body = json.dumps({"signature_name": signature, "instances": [row]}).encode()
    status, _, answer = ask(app, "POST", "/v1/models/regions:predict", body)
    assert status == 200, answer
    return json.loads(answer)["predictions"][0]


# The run


def test_pictures_are_those_of_the_run(app):
    label, instance = exports.layouts(1)
    found = predict(app, "png", png_row(label[0], instance[0], seed=3))
    picture = exports.unpacked([base64.b64decode(found["b64"])])
    exports.assert_same_pixels(picture, exports.in_process("regions", label, [3], instance))


def test_styles_go_there_and_back(app):
    label, instance = exports.layouts(1)
    style = predict(app, "png_sample_style", png_row(label[0], instance[0], seed=3))
    assert np.shape(style["noise"])[1:] == (2, 3)
    again = predict(app, "png_synthesize_style", png_row(label[0], instance[0], **style))
    assert again == predict(app, "png", png_row(label[0], instance[0], seed=3))


def test_metadata_of_a_run_that_was_not_exported(app):
    status, _, body = ask(app, "GET", "/v1/models/regions/metadata")
    found = json.loads(body)["metadata"]["signature_def"]["signature_def"]
    assert status == 200 and found["png"]["outputs"]["image_png_bytes"]["dtype"] == "DT_STRING"
    assert [d["size"] for d in found["serving_default"]["inputs"]["label"]["tensor_shape"]["dim"]] == [
        "-1",
        "32",
        "32",
    ]


def test_the_page_knows_classes_sizes_and_style_axes(app):
    assert json.loads(ask(app, "GET", "/paint/models")[2])["models"] == ["regions"]
    found = json.loads(ask(app, "GET", "/paint/models/regions")[2])
    assert [one["name"] for one in found["classes"]][:2] == ["sky", "cloud"] and found["size"] == [32, 32]
    assert found["styles"][0]["axes"] == ["region", "scale or shift", "latent"] and found["instances"]
    assert "lake" in found["layouts"] and "sunset" in found["photos"] and not found["provenance"]
    assert found["usual_seed"] is None
    assert ask(app, "GET", "/paint/models/none")[0] == 404


def test_layouts_and_photos_ship(app):
    found = json.loads(ask(app, "GET", "/paint/models/regions/layouts/lake")[2])
    table = exports.synthesizer("regions").table
    for kind, reader in (("label", lambda p: data.read_label(p, table)), ("instance", data.read_instance)):
        expected = data.fit_label(reader(shipped("datasets", "scenes", f"lake_{kind}.png")), 32, 32)
        ids = np.frombuffer(base64.b64decode(found[kind]["ids"]), "<u2").reshape(32, 32)
        np.testing.assert_array_equal(ids, expected)
    for name in ("sunset", "sunset_label"):
        status, headers, body = ask(app, "GET", f"/paint/photos/{name}.png")
        assert (status, headers["content-type"]) == (200, "image/png")
        assert body == shipped("datasets", "scenes", f"style_{name}.png").read_bytes()
    for path in ("/paint/photos/lake.png", "/paint/models/regions/layouts/no", "/paint/photos/..%2fx.png"):
        assert ask(app, "GET", path)[0] in (400, 404)


def test_files_are_read_with_the_readers_words(app, tmp_path):
    label, instance = exports.layouts(1)
    path = "/paint/models/regions/maps/label?file=my%20map.png"
    status, _, body = ask(app, "POST", path, exports.png(label[0]), FILE)
    ids = np.frombuffer(base64.b64decode(json.loads(body)["ids"]), "<u2").reshape(32, 32)
    assert status == 200
    np.testing.assert_array_equal(ids, label[0])
    colours = exports.png(exports.TABLE_COLORS[label[0]])
    assert json.loads(ask(app, "POST", path, colours, FILE)[2])["ids"] == json.loads(body)["ids"]
    large = np.kron(label[0], np.ones((3, 2), np.uint8))
    found = json.loads(ask(app, "POST", path, exports.png(large), FILE)[2])
    assert found["file_size"] == [96, 64] and (found["height"], found["width"]) == (32, 32)
    wrong = tmp_path / "my map.png"
    for content in (exports.png(label[0] + 90), b"text", b"", exports.png(label[0])[:-20]):
        wrong.write_bytes(content)
        with pytest.raises((ValueError, OSError)) as error:
            data.read_label(str(wrong), exports.synthesizer("regions").table)
        line = " ".join(str(error.value).split()).replace(str(wrong), "my map.png")
        assert error_of(ask(app, "POST", path, content, FILE)) == (400, line)
    objects = instance[0] * 1000
    path = "/paint/models/regions/maps/instance?file=o.png"
    status, _, body = ask(app, "POST", path, exports.png(objects.astype(np.uint16)), FILE)
    ids = np.frombuffer(base64.b64decode(json.loads(body)["ids"]), "<u2").reshape(32, 32)
    np.testing.assert_array_equal(ids, objects)


def test_a_photo_where_a_label_map_belongs_is_told_as_one(app):
    photo = shipped("datasets", "scenes", "style_day.png").read_bytes()
    status, _, body = ask(app, "POST", "/paint/models/regions/maps/label?file=day.png", photo, FILE)
    found = json.loads(body)
    assert status == 200 and found["photo"] and found["error"].startswith("day.png: colour")
    label, _ = exports.layouts(1)
    small = exports.TABLE_COLORS[label[0]].astype(np.uint8)
    smooth = cv2.resize(small, (256, 256), interpolation=cv2.INTER_LINEAR)
    answer = ask(app, "POST", "/paint/models/regions/maps/label?file=x.png", exports.png(smooth), FILE)
    assert answer[0] == 400 and "smoothed" in error_of(answer)[1]


def test_a_map_of_another_shape_is_cut_when_asked(app):
    ids = np.zeros((40, 96), np.uint8)
    ids[:, 28:68] = np.arange(40) % 5
    path = "/paint/models/regions/maps/label?file=wide.png"
    for fit, expected in (("&fit=crop", ids[:, 28:68]), ("", ids)):
        found = json.loads(ask(app, "POST", path + fit, exports.png(ids), FILE)[2])
        read = np.frombuffer(base64.b64decode(found["ids"]), "<u2").reshape(32, 32)
        np.testing.assert_array_equal(read, data.fit_label(expected, 32, 32))
        assert found["file_size"] == [40, 96]


def test_ids_of_objects_that_need_more_than_16_bits_are_numbered_anew(app):
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:4, :, 2], rgb[4:8, :, 2] = 9, 7  # 9 and 7 times 65536
    body = ask(app, "POST", "/paint/models/regions/maps/instance?file=o.png", exports.png(rgb), FILE)[2]
    ids = np.frombuffer(base64.b64decode(json.loads(body)["ids"]), "<u2").reshape(32, 32)
    assert [ids[0, 0], ids[4, 0], ids[9, 0]] == [2, 1, 0]


# Who may ask, and for what


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_bombs_are_refused_before_they_are_unpacked(app):
    for kind, side in itertools.product(("label", "instance"), (5000, 60000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(400000)))
        path = f"/paint/models/regions/maps/{kind}?file=bomb.png"
        status, text = error_of(ask(app, "POST", path, bomb + chunk(b"IEND", b""), FILE))
        most = "16777216 (16" if side == 5000 else "134217728 (128"
        assert status == 400 and f"{side}x{side} pixels; at most {most} million) are read" in text
    path = "/paint/models/regions/maps/label?file=x.png"
    assert error_of(ask(app, "POST", path, bytes(2_000_000), FILE))[0] == 413
    packed = {**FILE, "content-encoding": "gzip"}
    assert error_of(ask(app, "POST", path, zlib.compress(bytes(9_000_000)), packed))[0] == 415


def test_other_hosts_origins_and_sites_are_refused(app):
    for host in (
        "evil.example",
        "evil.example:8510",
        "127.0.0.1.evil.example",
        "192.168.1.7:8510",
        "demo",
        "10.0.0.1",
    ):
        for path in ("/", "/paint/models", "/v1/models/regions"):
            assert ask(app, "GET", path, headers={"host": host})[0] == 421, host
    for host in ("127.0.0.1:8510", "localhost:8510", "LOCALHOST", "[::1]:8510"):
        assert ask(app, "GET", "/", headers={"host": host})[0] == 200, host
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8510"):
        for method, path in (
            ("GET", "/paint/models"),
            ("POST", "/v1/models/regions:predict"),
            ("OPTIONS", "/"),
        ):
            status, headers, _ = ask(app, method, path, headers={"origin": origin})
            assert status == 403 and "access-control-allow-origin" not in headers, (origin, path)
    assert ask(app, "GET", "/paint/models", headers={"origin": "http://127.0.0.1:8510"})[0] == 200
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
        assert ask(app, "GET", "/paint/photos/day.png", headers=headers)[0] == 403
        link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert ask(app, "GET", "/", headers=link)[0] == 200
        assert ask(app, "GET", "/", headers={**link, "sec-fetch-dest": "iframe"})[0] == 403


def test_bodies_that_any_site_may_send_are_refused(app):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = ask(app, "POST", "/paint/models/regions/maps/label", b"x", {"content-type": kind})
        assert answer[0] == 415, kind


def test_headers_and_types_of_the_page(app):
    kinds = {
        "/": "text/html",
        "/page/main.js": "text/javascript",
        "/page/paint.css": "text/css",
        "/favicon.ico": "image/svg",
    }
    for path, kind in kinds.items():
        status, headers, body = ask(app, "GET", path)
        assert status == 200 and headers["content-type"].startswith(kind) and body
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-cache"
        assert ask(app, "GET", path, headers={"if-none-match": headers["etag"]})[0] == 304
    for path in ("/page/none.js", "/page/../paint.py", "/page/..%2fpaint.py", "/page/%2fetc%2fpasswd"):
        assert ask(app, "GET", path)[0] in (400, 404), path


# The command


def test_hosts_that_others_reach_need_a_name():
    with pytest.raises(ValueError, match="--allow_host"):
        paint.page_access(paint.PaintOptions(host="0.0.0.0"), ServeOptions(host="0.0.0.0"))
    access = paint.page_access(
        paint.PaintOptions(host="0.0.0.0", allow_host=("Me.example:80",)), ServeOptions()
    )
    assert access.hosts == {"127.0.0.1", "localhost", "::1", "me.example"}


def test_runs_get_names_for_urls(tmp_path):
    assert name_of(tmp_path / "Mein Lauf é") == "Mein_Lauf__"
    assert tuple(paint.named_runs(paint.PaintOptions())) == paint.DEMOS
    twice = paint.PaintOptions(checkpoint_dir=("demo_spade", "demo_spade"))
    assert list(paint.named_runs(twice)) == ["demo_spade", "demo_spade-2"]


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    with pytest.raises((ValueError, OSError), match=str(tmp_path)):
        paint.named_runs(paint.PaintOptions(checkpoint_dir=(str(tmp_path),)))


# Other runs


def live_run(folder, **options):
    """A LiveRun of a tiny run with random weights."""
    config = tiny_config(folder, **options)
    with shallow_networks(exports.STRIDES):
        model = build_method(config, training=False)
        write_run(folder, config, random_arrays(model))
        return LiveRun("tiny", str(folder)).open()


def test_sources_of_a_run_with_a_memory(tmp_path):
    """What `--provenance` writes, as JSON for the page, of the same style as the picture's."""
    run = live_run(tmp_path / "run", **conformance_options("sims"))
    label, instance = exports.layouts(1)
    row = png_row(label[0], instance[0], seed=3)
    if not run.graph.takes_instances:
        del row["instance_png_bytes"]
    said = json.loads(page_routes.describe(run))
    assert said["provenance"] and said["usual_seed"] == 0
    body = json.dumps({"signature_name": "png", "instances": [row]}).encode()
    found = json.loads(page_routes.origins(run, body))
    assert found["segments"] and {"class", "photo", "box"} <= set(found["segments"][0])
    assert exports.unpacked([base64.b64decode(found["pictures"]["canvas"])]).shape == (1, 32, 32, 3)
    body = json.dumps({"signature_name": "png_sample_style", "instances": [row]}).encode()
    style = json.loads(run.predict(body))
    (choice,) = style["predictions"]
    row.pop("seed")
    styled = {"signature_name": "png_synthesize_style", "instances": [row | {"choice": choice}]}
    again = json.loads(page_routes.origins(run, json.dumps(styled).encode()))
    assert again == found


def test_maps_for_runs_of_free_sizes(tmp_path):
    run = live_run(tmp_path / "run")
    assert json.loads(page_routes.describe(run))["size"] is None
    for size, expected in (((97, 63), (97, 63)), ((1, 31), (1, 31)), ((2050, 2052), (1025, 1026))):
        content = exports.png(np.zeros(size, np.uint8))
        found = json.loads(page_routes.read_file(run, content, "label", "map.png"))
        assert (found["height"], found["width"]) == expected
        assert found["file_size"] == list(size)


def test_origins_of_other_signatures_and_huge_maps_are_refused(app):
    address = "/paint/models/regions/provenance"
    kind = {"content-type": "application/json"}
    photo = {
        "signature_name": "png_regions",
        "instances": [{"label_png_bytes": "x", "instance_png_bytes": "x"}],
    }
    status, _, body = ask(app, "POST", address, json.dumps(photo).encode(), kind)
    assert status == 400 and "signature png_regions; expected png or png_synth" in json.loads(body)["error"]
    huge = {"b64": base64.b64encode(exports.png(np.zeros((4096, 4096), np.uint8))).decode()}
    row = {"label_png_bytes": huge, "instance_png_bytes": huge, "seed": 0}
    content = json.dumps({"signature_name": "png", "instances": [row]}).encode()
    status, _, body = ask(app, "POST", address, content, kind)
    assert status == 400 and "label_png_bytes: 4096x4096 pixels; at most" in json.loads(body)["error"]
