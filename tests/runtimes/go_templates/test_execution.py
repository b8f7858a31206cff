"""Go's text/template: what each construct writes, what is refused, and that every run ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.runtimes.go_templates.nodes import GoTemplateError
from fine_tuning.runtimes.go_templates.prompts import GoTemplate

DATA: dict[str, Any] = {
    "Name": "Ada",
    "Empty": "",
    "Items": ["a", "b", "c"],
    "Map": {"b": 2, "a": 1},
    "None": None,
    "Deep": {"Er": {"Est": "x"}},
    "Yes": True,
}


def run(source: str, **data: Any) -> str:
    return GoTemplate(source + "{{ .Response }}").execute({**DATA, "Response": "", **data})


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("a {{ .Name }} b", "a Ada b"),
        ("a \n{{- .Name -}}\n b", "aAdab"),
        ("a{{/* said aside */}}b {{- /* and trimmed */ -}} c", "abc"),
        ("{{ if .Empty }}x{{ else if .Yes }}y{{ else }}z{{ end }}", "y"),
        ("{{ if not .Empty }}x{{ end }}", "x"),
        ("{{ range $i, $x := .Items }}{{ $i }}{{ $x }} {{ end }}", "0a 1b 2c "),
        ('{{ range .Items }}{{ if eq . "b" }}{{ continue }}{{ end }}{{ . }}{{ end }}', "ac"),
        ('{{ range .Items }}{{ if eq . "b" }}{{ break }}{{ end }}{{ . }}{{ end }}', "a"),
        ("{{ range .None }}x{{ else }}none{{ end }}", "none"),
        ("{{ range $k, $v := .Map }}{{ $k }}={{ $v }};{{ end }}", "a=1;b=2;"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ with .Deep.Er }}{{ .Est }}{{ $.Name }}{{ end }}", "xAda"),
        ("{{ with .Empty }}x{{ else with .Name }}{{ . }}{{ end }}", "Ada"),
        ("{{ $x := 1 }}{{ range .Items }}{{ $x = . }}{{ end }}{{ $x }}", "c"),
        ("{{ $x := 1 }}{{ if .Yes }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ('{{ define "t" }}<{{ . }}>{{ end }}{{ template "t" .Name }}', "<Ada>"),
        ('{{ block "b" .Name }}[{{ . }}]{{ end }}', "[Ada]"),
        ("{{ (index .Items 1) }}{{ (slice .Items 1) }}{{ len .Items }}", "b[b c]3"),
        ('{{ slice .Name 1 }}{{ len "ä" }}', "da2"),
        ("{{ (.Deep.Er).Est }}", "x"),
        ('{{ .Name | printf "%s-%s" "x" }}', "x-Ada"),
        ('{{ printf "%5d|%-4s|%q|%v|%%" 42 "ab" "q" true }}', '   42|ab  |"q"|true|%'),
        ('{{ print 1 2 "a" 3 }}', "1 2a3"),
        ("{{ json .Map }}{{ json .Items }}", '{"a":1,"b":2}["a","b","c"]'),
        ('{{ json "<a & b>" }}', '"\\u003ca \\u0026 b\\u003e"'),
        ("{{ and .Yes .Name }}{{ or .Empty .Name }}{{ and .Empty .Absent.Field }}", "AdaAda"),
        ('{{ eq .Name "x" "Ada" }}{{ lt 1 2 }}{{ ge 2 2 }}{{ ne 1 2 }}', "truetruetruetrue"),
        ("{{ .Absent }}", "<no value>"),
        ("{{ if .Absent }}x{{ end }}", ""),
        ("{{ `raw {{ }}` }}{{ \"esc\\t\\u00e4\" }}{{ 'a' }}", "raw {{ }}esc\tä97"),
        ("{{ 1.0 }} {{ 0x10 }} {{ 1e3 }} {{ 0.5 }} {{ 1e21 }}", "1 16 1000 0.5 1e+21"),
        ('{{ html "<a>" }}', "&lt;a&gt;"),
        ("{{ .Map }}{{ .Yes }}", "map[a:1 b:2]true"),
    ],
)
def test_what_is_written(source: str, written: str) -> None:
    assert run(source) == written


@pytest.mark.parametrize(
    "source",
    [
        "{{ if .Name }}x", "{{ end }}", "{{ else }}", "{{ .Name", "{{ }}", "{{ nosuch .Name }}",
        "{{ $x }}", "{{ range $a, $b, $c := .Items }}{{ end }}", "{{ break }}", "{{ (.Name }}",
        "{{ .Name | 3 }}", '{{ "\\y" }}', "{{ /* open }}", "{{ # }}", '{{ template }}',
        "{{ if .Yes }}{{ else range .Items }}{{ end }}", "{{ define \"x\" }}",
        "{{ if " + "(" * 500 + ".Name" + ")" * 500 + " }}{{ end }}",
        "{{ if .Yes }}" * 500 + "{{ end }}" * 500,
    ],
)  # fmt: skip
def test_what_does_not_parse(source: str) -> None:
    with pytest.raises(GoTemplateError, match="the Go template"):
        GoTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ .Name.First }}", "{{ index .Items 3 }}", "{{ eq 1 \"1\" }}", "{{ slice .Items 4 }}",
        "{{ range .Name }}{{ end }}", "{{ .Name 1 }}", "{{ lt .Map 1 }}", "{{ len 3 }}",
        '{{ template "absent" . }}', "{{ not }}", "{{ nil }}", '{{ printf "%99999d" 1 }}',
    ],
)  # fmt: skip
def test_what_fails_while_it_runs(source: str) -> None:
    with pytest.raises(GoTemplateError, match="the Go template"):
        run(source)


@pytest.mark.parametrize(
    "source",
    [
        '{{ define "t" }}{{ template "t" . }}{{ end }}{{ template "t" . }}',
        "{{ range 999999 }}{{ range 999999 }}{{ end }}{{ end }}",
        "{{ range 99999999999 }}{{ end }}",
        "{{ range 9999 }}" + "x" * 9999 + "{{ end }}",
    ],
)
def test_what_does_not_end_is_ended(source: str) -> None:
    with pytest.raises(GoTemplateError, match="the Go template"):
        run(source)


@given(st.text(alphabet='{}-.$|() abAif"rangeendelsewith:=,`1', max_size=60))
def test_no_text_raises_anything_else(source: str) -> None:
    try:
        run(source)
    except GoTemplateError:
        return


@given(st.text(max_size=60).filter(lambda text: "{{" not in text))
def test_text_without_actions_stays(text: str) -> None:
    assert run(text) == text
