"""The explorer in a real browser, `make test-browser`: some minutes, so not in `make test`.

The pictures of what was seen lie in the folder that `pytest --basetemp` names, else in the system's own.
"""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request

import nbformat
import pytest
from chain import ROOT, environment, run
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from medrob import explore

FLAGS = """headless no-sandbox disable-gpu no-first-run disable-background-networking
disable-component-update disable-sync force-color-profile=srgb"""
SMALL = {  # stage -> parameters that make it quick
    "01_augment": {"size": 32, "limit": 90},
    "02_train": {"epochs": 2, "width": 8},
    "03_test": {},
    "04_heatmaps": {"images": 6, "checked": 2, "methods": ["gradcam", "layercam"]},
}
DRIFT = re.compile(r"Drift \(RMSE of the two maps\): ([\d.]+)\.")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A home with a run, up to notebook 03, and a folder of notebooks as `make lab` makes it."""
    place = tmp_path_factory.mktemp("browser")
    for stage in ("01_augment", "02_train", "03_test"):
        values = json.dumps({"run": "small", **SMALL[stage]})
        book, made = f"notebooks/{stage}.ipynb", str(place / f"{stage}.ipynb")
        run(place, "papermill", "-k", "python3", book, made, "-y", values)
    (place / "lab").mkdir()
    book = nbformat.read(ROOT / "notebooks" / "04_heatmaps.ipynb", as_version=4)
    at = next(i for i, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", []))
    given = {"run": "small", **SMALL["04_heatmaps"]}
    book.cells[at].source += "".join(f"\n{name} = {value!r}" for name, value in given.items())
    nbformat.write(book, place / "lab" / "04_heatmaps.ipynb")
    return place


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; the test is left out where there is none."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no chromium with its chromedriver: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    browser = Chrome(options, ChromeService(driver))
    yield browser
    browser.quit()


def sized(browser, width, height):
    size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture
def lab(place):
    """The address of JupyterLab on the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = dict(port=port, token="", root_dir=place / "lab", open_browser=False, allow_root=True)
    command = [f"--ServerApp.{name}={value}" for name, value in options.items()]
    command += [f"--LabApp.{name}={place / name}" for name in ("workspaces_dir", "user_settings_dir")]
    with (place / "lab.log").open("w") as log:
        server = subprocess.Popen(
            ["jupyter", "lab", *command, "--LabApp.expose_app_in_browser=True"],
            env=environment(place), stdout=log, stderr=log,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api")
                break
            except OSError:
                time.sleep(0.5)
        yield f"{address}/lab/tree/04_heatmaps.ipynb"
        server.terminate()
        server.wait(30)


def test_a_slider_of_notebook_04_shows_what_the_package_computes(place, browser, lab, monkeypatch):
    sized(browser, 1280, 1000)
    browser.get(lab)
    wait = WebDriverWait(browser, 300, ignored_exceptions=(Exception,))
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-CodeCell"))
    wait.until(lambda b: b.execute_script(
        "return jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status == 'idle'"
    ))  # fmt: skip
    browser.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
    wait.until(lambda b: b.execute_script(
        "const all = jupyterapp.shell.currentWidget.content; all.scrollToItem(all.widgets.length - 1);"
        "return document.querySelectorAll('.widget-slider').length"
    ) > 1)  # fmt: skip
    monkeypatch.setenv("MEDROB_HOME", str(place))
    shown = explore("small")

    def told(severity):
        """What the panel says, as soon as it says what is true."""
        view = shown.look(**shown.start | {"severity": severity})
        wait.until(lambda b: f"{view.rmse:.3f}" == DRIFT.search(text(b))[1])
        return DRIFT.search(text(browser))[1]

    def text(b):
        return b.find_element(By.CSS_SELECTOR, ".widget-output p").text

    first = told(3)
    slider = browser.find_elements(By.CSS_SELECTOR, ".widget-slider")[1]
    assert slider.find_element(By.CSS_SELECTOR, ".widget-label").text == "severity"
    handle = slider.find_element(By.CSS_SELECTOR, ".noUi-handle")
    handle.send_keys(Keys.ARROW_RIGHT)
    assert told(4) != first
    drag = ActionChains(browser, duration=20).click_and_hold(handle)
    for step in [-20] * 8 + [20] * 12:  # to the left end, then to the right one
        drag.move_by_offset(step, 0)
    drag.release().perform()
    told(5)
    browser.save_screenshot(str(place / "lab.png"))
    picture = browser.find_element(By.CSS_SELECTOR, ".widget-output img")
    assert picture.get_property("naturalWidth") > 400
