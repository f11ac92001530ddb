"""What the measuring scripts of this folder share: running, files, the page of results."""

import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = "# Results\n\nWhat was measured, on which machine, and how to measure it again.\n"


def say(text):
    print(text, file=sys.stderr, flush=True)


def output_of(*command):
    """Standard output without blanks around it; "" when the command is not there."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def list_of(text):
    return [w for w in text.split(",") if w]


def middle(values):
    """The median; None of nothing."""
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2 if values else None


def commit():
    """Of the sources that were measured."""
    name = output_of("git", "rev-parse", "--short=10", "HEAD") or "unknown"
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no", "--", "src", "kernels", "bench", "planner", "include")
    return name + (" with changes" if changed else "")


def machine():
    cpu = "unknown CPU"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.split(":")[0].strip() in ("model name", "Model", "Hardware"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "system": "%s %s" % (os.uname().sysname, os.uname().release)}


# ---- files ---------------------------------------------------------------------------------------

def replace_file(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.replace(path + ".tmp", path)


def replace_section(path, name, title, lines):
    """Between the marks of `name` on the page; a section of that title is added when there is none."""
    begin, end = "<!-- %s: written by bench/%s -->" % (name, name), "<!-- end %s -->" % name
    text = PAGE
    if os.path.exists(path):
        with open(path) as f:
            text = f.read()
    if begin not in text or end not in text:
        text = text.rstrip("\n") + "\n\n## %s\n\n%s\n%s\n" % (title, begin, end)
    head, rest = text.split(begin, 1)
    tail = rest.split(end, 1)[1]
    replace_file(path, head + begin + "\n" + "\n".join(lines) + "\n" + end + tail)


def load_kept(path, form, version, key, what):
    """The cells that an earlier call kept with keep(), when it measured the same; else none."""
    try:
        with open(path) as f:
            kept = json.load(f)
        if kept.get("format") == form and kept.get("version") == version and kept.get("key") == key:
            return kept["cells"]
        say("%s: %s is of other sources, options or another machine: measuring anew" % (what, os.path.relpath(path, ROOT)))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, AttributeError) as error:
        say("%s: %s cannot be used (%s): measuring anew" % (what, path, error))
    return []


def keep(path, form, version, key, cells):
    replace_file(path, json.dumps({"format": form, "version": version, "key": key, "cells": cells}))


# ---- Markdown ------------------------------------------------------------------------------------

def table(head, rows):
    """The first column to the left, numbers to the right."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
