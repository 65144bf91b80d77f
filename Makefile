PYTHON ?= python3
BIN := .venv/bin
LIVEKIT := .tools/bin/livekit-server
EXTRAS := cpu openvino torch livekit server webrtc zh ja ko demo dev
CHECK_PYTHON := import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("needs Python 3.11 to 3.13: make PYTHON=...")
COMPILE := .tools/uv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-header
.PHONY: demo test setup check bench lock voice browser

demo: $(if $(wildcard .venv/.done),.venv/.done,.venv/.demo)
	$(BIN)/xtts-rtc demo $(ARGS)

test: .venv/.done $(LIVEKIT) browser
	$(BIN)/pytest -m "not weights and not gpu" $(ARGS)

browser:  # Chromium or Chrome, Node for the page's modules, FFmpeg: taken as they are, else from Debian's packages
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null && command -v node >/dev/null && \
	command -v ffprobe >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	apt-get install -qq chromium nodejs ffmpeg >/dev/null; } || \
	{ echo "make test needs Chromium, Node and FFmpeg: apt-get install chromium nodejs ffmpeg, or run it as root" >&2; exit 1; }

setup: .venv/.done

check: .venv/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not weights and not gpu" tests/test_layout.py tests/test_readme.py

bench: .venv/.done
	$(BIN)/xtts-rtc bench $(ARGS)

voice: .venv/.done  # the embedded voice, from text to checkpoint: hours; training/README.md
	$(BIN)/python -m training.run $(ARGS)

lock:  # keeps what is locked where pyproject.toml allows it; delete a line of the lock to raise that package
	$(PYTHON) -m venv .tools/uv && .tools/uv/bin/pip install --quiet uv
	$(COMPILE) $(EXTRAS:%=--extra %) -o requirements/dev.lock
	$(COMPILE) --extra cpu --extra livekit --extra server --extra webrtc --extra demo -o requirements/runtime.lock
	$(COMPILE) --extra torch --extra livekit --extra server -c requirements/dev.lock -o requirements/cuda.lock

.venv/.demo: requirements/runtime.lock pyproject.toml  # what the demo needs: no torch, no tests
	$(PYTHON) -c '$(CHECK_PYTHON)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/runtime.lock
	awk '/^[a-z]/ {wanted = /^(hatchling|editables|packaging|pathspec|pluggy|trove-classifiers)==/} wanted' \
		requirements/dev.lock > .venv/build.lock && $(BIN)/pip install --quiet --no-deps --require-hashes -r .venv/build.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e . && touch $@

.venv/.done: requirements/dev.lock pyproject.toml
	$(PYTHON) -c '$(CHECK_PYTHON)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e . && touch $@

$(LIVEKIT):  # later versions need Go modules that the module proxy does not have
	GOBIN=$(CURDIR)/.tools/bin go install github.com/livekit/livekit-server/cmd/server@v1.11.0 && mv .tools/bin/server $@
