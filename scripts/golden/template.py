#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden texts of the template language: small templates, and what jinja2 as transformers sets it up makes of them.

Writes tests/golden/template.json: {"variables": {...}, "cases": [[template, text or null where jinja2 refuses], ...], "command", "versions"}.

Command: python scripts/golden/template.py    (versions are stored in the file)
"""
import importlib.metadata
import json
import pathlib
import re

from transformers.utils.chat_template_utils import _compile_jinja_template

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
VARIABLES = {
    "s": "Hello World", "u": "ÄÖ ß ñ漢字🙂\u00a0x", "n": 7, "f": 2.5, "t": True, "none": None, "l": [3, 1, 2], "ls": ["b", "A", "c"],
    "d": {"b": 1, "A": 2, "items": 5, "x": {"y": [1, {"z": "q"}]}}, "ll": [{"n": "x", "v": 2}, {"n": "y", "v": 1}, {"n": "x"}], "e": [],
    "big": 12345678901234567, "html": "<a href='x'>&\"", "nl": "a\nb\r\n\nc", "msgs": [{"role": "user", "content": "hi"}],
}
TEMPLATES = [
    '{{ s }}|{{ u }}|{{ n }}|{{ f }}|{{ t }}|{{ none }}|{{ l }}|{{ d }}|{{ undefinedx }}',
    '{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.0 }} {{ 100000.0*10 }} {{ 1/3 }} {{ 2**0.5 }} {{ -0.0 }} {{ 1e300*1e10 }}',
    '{{ 7//2 }} {{ -7//2 }} {{ -7%3 }} {{ 7%-3 }} {{ 7.5//2 }} {{ -7.5%2 }} {{ 2**10 }} {{ 2**-1 }} {{ 10/5 }} {{ 1+True }} {{ -True }}',
    "{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 'a' < 'b' }} {{ [1,2] < [1,3] }} {{ 1 == 1.0 }} {{ True == 1 }} {{ '1' == 1 }} {{ None == false }} {{ [] == [] }} {{ {'a':1} == {'a':1.0} }}",
    "{{ 'a' in 'abc' }} {{ 3 in l }} {{ 'b' in d }} {{ 'q' not in d }} {{ 1 in undefinedx }} {{ not 1 in l }}",
    "{{ 'a' ~ 1 ~ none ~ 2.0 ~ [1] }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1]*3 }} {{ 'x' * -1 }} {{ (1,2)+(3,) }} {{ (1,) }} {{ () }}",
    '{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[-3:] }} {{ u[1] }} {{ u[::2] }} {{ l[1:] }} {{ l[5:] }} {{ l[-10:2] }} {{ l[::-2] }} {{ s[100] is defined }} {{ s[:-1] }} {{ s[5:2] }} {{ l[10] }}|{{ l.1 }}',
    "{{ d.b }} {{ d['b'] }} {{ d.items is defined }} {{ d['items'] }} {{ d.x.y[1].z }} {{ d.nope }}|{{ d.x.nope is defined }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 3) }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.items()|list }} {{ d.keys() }} {{ d.items() }}",
    '{{ undefinedx.foo }}',
    '{{ undefinedx() }}',
    '{{ undefinedx + 1 }}',
    '{{ none.foo }}|{{ n.foo }}|{{ s.foo }}',
    '{{ none + 1 }}',
    '{{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ \'hello-world (foo)bar\'|title }} {{ u|upper }} {{ u|lower }} {{ u|capitalize }} {{ "they\'re"|title }} {{ "they\'re".title() }} {{ s.swapcase() }}',
    "{{ '  x '|trim }}| {{ 'xxaxx'|trim('x') }} {{ '  x '.strip() }} {{ 'xxaxx'.lstrip('x') }} {{ 'abcab'.rstrip('ab') }} {{ '\\u00a0 x\\u2003'|trim }}|{{ '\\x1cx\\x1f'|trim }}|",
    "{{ s.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',',1) }} {{ 'a b  c'.split(None,1) }} {{ 'a,b,c'.rsplit(',',1) }} {{ ' a b c '.rsplit(None,1) }} {{ ''.split() }} {{ ''.split(',') }} {{ ' a  b '.split() }} {{ 'aXXbXXc'.split('XX') }} {{ s.split('') }}",
    "{{ s.startswith('Hell') }} {{ s.endswith(('x','ld')) }} {{ s.startswith('W',6) }} {{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('zz') }} {{ u.find('漢') }} {{ s.count('l') }} {{ s.index('W') }} {{ s.replace('l','L') }} {{ s.replace('l','L',1) }} {{ 'ab'.replace('','-') }} {{ 'aaa'.replace('aa','b') }}",
    "{{ s.index('zz') }}",
    "{{ s.partition(' ') }} {{ s.rpartition('o') }} {{ s.partition('q') }} {{ s.rpartition('q') }} {{ 'x'.center(6,'*') }} {{ 'xy'.center(5) }}| {{ 'x'.ljust(3) }}| {{ 'x'.rjust(3,'0') }} {{ '-5'.zfill(4) }} {{ s.removeprefix('He') }} {{ s.removesuffix('ld') }}",
    "{{ s.isalpha() }} {{ 'abc'.isalpha() }} {{ '12'.isdigit() }} {{ '½'.isnumeric() }} {{ '²'.isdigit() }} {{ ''.isalpha() }} {{ ' '.isspace() }} {{ 'ab1'.isalnum() }} {{ 'AB'.isupper() }} {{ 'a1'.islower() }} {{ nl.splitlines() }} {{ nl.splitlines(true) }} {{ ','.join(ls) }} {{ ','.join('abc') }}",
    "{{ ','.join(l) }}",
    '{{ l|length }} {{ s|length }} {{ u|length }} {{ d|count }} {{ undefinedx|length }} {{ e|length }}',
    '{{ none|length }}',
    "{{ l|first }} {{ l|last }} {{ e|first }}| {{ s|first }} {{ s|last }} {{ d|first }} {{ d|last }} {{ l|join }} {{ l|join(', ') }} {{ ll|join('-', attribute='n') }} {{ l|sort }} {{ ls|sort }} {{ ls|sort(case_sensitive=true) }} {{ l|sort(reverse=true) }} {{ ll[:2]|sort(attribute='v') }} {{ ls|sort(attribute='0') }}",
    "{{ [1,'a']|sort }}",
    '{{ d|dictsort }}',
    "{{ {'b':1,'A':2,'c':0}|dictsort }} {{ {'b':1,'A':2,'c':0}|dictsort(true) }} {{ {'b':1,'A':2,'c':0}|dictsort(by='value') }} {{ {'b':1,'A':2}|dictsort(false,'key',true) }}",
    "{{ l|min }} {{ l|max }} {{ ls|max }} {{ e|max }}| {{ l|sum }} {{ ll[:2]|sum(attribute='v') }} {{ [[1],[2]]|sum(start=[]) }} {{ ['a','A','b']|unique|list }} {{ [1,1.0,true,2]|unique|list }} {{ l|reverse|list }} {{ s|reverse }} {{ l|batch(2)|list }} {{ l|batch(2,'x')|list }}",
    "{{ ll|map(attribute='n')|list }} {{ ll|map(attribute='v', default=9)|list }} {{ ls|map('upper')|list }} {{ ls|map('replace','b','q')|list }} {{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ l|select('gt',1)|list }} {{ ll|selectattr('v')|list }} {{ ll|selectattr('n','equalto','x')|list }} {{ ll|rejectattr('v','defined')|list }} {{ l|select|list }} {{ l|select('in',[1,2])|list }} {{ none|map('upper')|list }}",
    "{{ l|select('odd')|length }}",
    "{{ (l|select('odd'))[0] }}|{{ l|map('string')|join('+') }}|{{ (l|map('string')) is iterable }} {{ (l|map('string')) is sequence }} {% set g = l|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}",
    '{{ d|items|list }} {{ undefinedx|items|list }} {% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}',
    '{{ l|items|list }}',
    '{{ d|tojson }} {{ u|tojson }} {{ u|tojson(ensure_ascii=true) }} {{ d|tojson(indent=2) }} {{ d|tojson(sort_keys=true, separators=(\',\',\':\')) }} {{ [1,2.0,none,true,\'\\n\\x07"\\\\/<>&\']|tojson }} {{ {1:2, 1.5:3, none:4, true:5}|tojson }} {{ []|tojson(indent=1) }} {{ {}|tojson(indent=1) }} {{ (1,2)|tojson }} {{ [[1,[2]],{\'a\':[]}]|tojson(indent=\'--\') }} {{ \'\\x7f\'|tojson }} {{ \'\\x7f\'|tojson(true) }} {{ 1e400|tojson }}',
    '{{ undefinedx|tojson }}',
    "{{ l|map('string')|tojson }}",
    '{{ [undefinedx] }} {{ [undefinedx]|tojson }}',
    "{{ nl|indent }} {{ nl|indent(2,true) }} {{ nl|indent('> ',false,true) }} {{ ''|indent(3,true) }}| {{ 'a\\n'|indent(2) }}|",
    "{{ undefinedx|default('D') }} {{ ''|default('D') }} {{ ''|default('D',true) }} {{ ''|d('D',boolean=true) }} {{ none|default('D') }} {{ undefinedx|default }}|",
    "{{ '42'|int }} {{ '42.9'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ 3.9|int }} {{ -3.9|int }} {{ none|int }} {{ ' 7 '|int }} {{ '1_000'|int }} {{ '3.5'|float }} {{ 'x'|float }} {{ 'inf'|float }} {{ true|int }} {{ l|int(8) }} {{ '+5'|int }} {{ '+-5'|int }}",
    "{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 2.1|round(method='ceil') }} {{ 2.9|round(0,'floor') }} {{ 5|round }} {{ 1234.5678|round(1) }} {{ -3|abs }} {{ -3.5|abs }} {{ 7|round(1,'ceil') }}",
    "{{ s|replace('l','L') }} {{ s|replace('l','L',1) }} {{ 5|replace(5,'x') }} {{ s|string }} {{ 5|string }} {{ s|wordcount }} {{ 'x'|center(7) }}| {{ s|list }}",
    "{{ html|e }} {{ html|escape }} {{ 'a'|safe + html }} {{ html + 'x'|safe }} {{ ('x'|safe) ~ html }} {{ html|e|e }} {{ ('a'|safe) is escaped }} {{ [('a'|safe)] }} {{ ('<b>'|safe).replace('b','<') }} {{ ('<b>'|safe)|upper }} {{ ('<b>'|safe)[0:2] + '<' }} {{ (html|e)|replace('&','x') }} {{ ('a<'|safe * 2) + '<' }}",
    "{{ '%s is %d and %.2f' % ('a', 3, 2.5) }} {{ '%5s|%-5s|%05d|%x' % ('a','b',42,255) }} {{ '%(a)s' % {'a': 1} }} {{ '%s' % 'x' }} {{ '%%' % () }} {{ '%r' % 'x' }} {{ '%s'|format('y') }} {{ '%+d' % 3 }} {{ '%e' % 12345.678 }} {{ '%g' % 0.00001 }} {{ '%s' % [1] }} {{ '%.2s' % 'äöü' }} {{ '%c' }}",
    "{{ '%d' % 'x' }}",
    "{{ '%s %s' % 'x' }}",
    "{{ 'x' % 5 }}",
    "{{ '{} {}'.format(1,'b') }} {{ '{0} {1} {0}'.format('a','b') }} {{ '{a}'.format(a=3) }} {{ '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:x}'.format('a','b','c',42,2.5,255) }} {{ '{{}}'.format() }} {{ '{!r}'.format('x') }} {{ '{:*^7}'.format('é') }} {{ '{:+d}'.format(3) }} {{ '{:d}'.format(true) }} {{ '{}'.format(none) }} {{ '{:5}'.format(3) }}| {{ '{:5}'.format('3') }}| {{ '{:.3}'.format('abcdef') }}",
    "{{ '{}'.format() }}",
    '{% if n is number and s is string and l is iterable and d is mapping and l is sequence and s is sequence and d is sequence and none is none and t is boolean and t is true and not (t is false) and n is integer and f is float and n is odd and 4 is even and 6 is divisibleby 3 and n is not none and undefinedx is not defined %}ok{% endif %}',
    "{{ undefinedx is iterable }} {{ undefinedx is sequence }} {{ undefinedx is string }} {{ undefinedx is mapping }} {{ undefinedx is none }} {{ undefinedx is callable }} {{ range is callable }} {{ s is lower }} {{ 'AB' is upper }} {{ 1 is eq 1 }} {{ 1 is sameas true }} {{ none is sameas none }} {{ 3 is in [1,3] }} {{ 3 is gt 2 }} {{ 'upper' is filter }} {{ 'zz' is filter }} {{ 'odd' is test }} {{ 1 is ge(1) }} {{ d.items is mapping }} {{ 5 is iterable }} {{ d.keys() is sequence }}",
    "{{ 'x' if false }}|{{ 'x' if true else 'y' }}|{{ 'a' if 0 else 'b' if 0 else 'c' }}|{{ ('x' if false) is defined }}|{{ (1 or 2) and 'z' }} {{ none or 'q' }} {{ not none }} {{ 0 and x.y }}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }}{{ loop.changed(x) }};{% endfor %}",
    '{% for x in l if x > 1 %}{{ loop.index }}:{{ x }};{% else %}none{% endfor %}{% for x in e %}{% else %}empty{% endfor %}{% for x in undefinedx %}x{% else %}undef{% endfor %}',
    '{% for x in none %}{% endfor %}',
    '{% for x in 5 %}{% endfor %}',
    "{% for k in d %}{{ k }}{% endfor %}{% for c in 'aé' %}[{{ c }}]{% endfor %}{% for a, b in [(1,2),[3,4]] %}{{ a }}{{ b }}{% endfor %}{% for a, (b, c) in [(1,(2,3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    '{% for a, b in [(1,2,3)] %}{% endfor %}',
    '{% for x in l %}{% if loop.index == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in l %}{% if loop.index == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}',
    "{% set x = 1 %}{% for y in l %}{% set x = y %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set q %}blk {{ x }}{% endset %}{{ q }}{% set q | upper | replace('K','!') %}blk{% endset %}{{ q }}{{ loop is defined }}",
    "{% set ns = namespace(a=1, b=[]) %}{% for y in l %}{% set ns.a = ns.a + y %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}{{ ns['a'] }}{% set ns.z = 5 %}{{ ns.z }}{% set ns2 = namespace({'k': 1}) %}{{ ns2.k }}",
    '{% set d.b = 1 %}',
    '{% set ns = namespace(_a=1) %}',
    '{% set ns = namespace() %}{% set ns._a = 1 %}',
    '{% macro m(a, b=2, c=a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=5) }}{{ m(b=1, a=0) }}{{ m() }}{{ m is callable }}{{ m(1)|upper }}{{ m(1) is string }}',
    '{% macro m(a, b=2) %}{{ a }}{% endmacro %}{{ m.name }} {{ m["name"] }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }} {{ m.explicit_caller }} {{ m }} {{ [m] }} {{ m.other is defined }}',
    '{% macro m(varargs) %}{{ varargs }}{{ kwargs }}{{ caller() }}{% endmacro %}{{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }} {{ m.explicit_caller }} {{ m.arguments|join }}',
    '{% macro m() %}{{ caller.name }} {{ caller.arguments }} {{ caller }}{% endmacro %}{% call(x, y) m() %}{% endcall %}{{ m.arguments }}',
    '{% macro m(caller=none) %}{{ caller }}{% endmacro %}{{ m.caller }} {{ m.explicit_caller }} {{ m.catch_varargs }}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}',
    '{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1,2,3,z=4) }}',
    '{% macro m(a) %}<{{ caller(a) }}>{% endmacro %}{% call(x) m(5) %}({{ x }}){% endcall %}{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(4) }}',
    '{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}',
    '{% call foo() %}{% endcall %}',
    '{% set y = 1 %}{% macro m() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ m() }}{% with a=1, b=2 %}{{ a + b }}{% endwith %}{{ a is defined }}{% with %}{% set q=1 %}{% endwith %}{{ q is defined }}',
    "{% filter upper %}ab{{ s }}{% endfilter %}{% filter replace('a','b')|trim %} aa {% endfilter %}|",
    '{% raw %}{{ x }}{% x %}{% endraw %}{# comment {{ x }} #}a{#- c -#}  b',
    "  {% if true %}\n  a\n  {% endif %}\nb   {%- if true -%}   c   {%- endif +%}\nd {{- ' x ' -}} e\n   {%+ if true %}f{% endif %}\ng {%- set x = 1 %}\n\nh\n{% raw -%}\n   x {{ y }}\n{%- endraw %}\n  {% generation %}\n gen {{ s }}\n  {% endgeneration %}\nend\n",
    '{{ "a\\tb\\x41\\u00e9\\101\\q\\\'\\"" }} {{ \'a\' \'b\' "c" }} {{ \'multi\nline\' }} {{ 1_000 }} {{ 1.5e3 }} {{ 1e-3 }}',
    "{{ {'a': {'b': {}}} }} {{ [1,2,] }} {{ {'a':1,} }} {{ (1,2,) }} {{ (((1))) }} {{ [[]] }}",
    '{{ l.append(1) }}',
    "{{ d.pop('b') }}",
    '{{ l.append is defined }} {{ d.update }}|{{ l.copy() }} {{ l.index(1) }} {{ l.count(1) }}',
    "{{ raise_exception('boo') }}",
    '{{ range(5)|list }} {{ range(1,4)|list }} {{ range(5,0,-2)|list }} {{ range(3)[1] }} {{ range(3)|length }} {{ range(0)|list }} {{ 2 in range(3) }} {% for i in range(2) %}{{ i }}{% endfor %} {{ range(10)[2:4]|list }}',
    '{{ range(1000000)|list }}',
    "{{ dict(a=1, b=2) }} {{ dict([('a',1)]) }} {{ dict({'x':1}, y=2) }} {{ strftime_now is defined }} {{ namespace is defined }} {{ foo is defined }}",
    '{{ s|nope }}',
    '{% if false %}{{ s|nope }}{% endif %}ok',
    '{% for x in l %}{% if false %}{{ s|nope }}{% endif %}{% endfor %}ok',
    '{% if false %}{% for x in l %}{{ s|nope }}{% endfor %}{% endif %}ok',
    "{{ (s|nope) if false else 'ok' }}",
    '{{ s is nope }}',
    '{% do l.append(1) %}',
    "{% include 'x' %}",
    '{% if %}{% endif %}',
    '{{ ',
    '{% if true %}',
    '{{ x y }}',
    '{{ ] }}',
    '{% endfor %}',
    '{% break %}',
    '{{ 1 if }}',
    "{{ -n }} {{ +n }} {{ -n|abs }} {{ 2**3**2 }} {{ -2**2 }} {{ not true == false }} {{ 1 + 2 ~ 3 }} {{ 2 * 3 ~ 4 }} {{ 'a' ~ 'b'|upper }} {{ n is odd and n is not even }} {{ 1 in [1] and true }} {{ l | length > 2 }} {{ [1,2]|length == 2 }}",
    '{{ s.upper().lower().title() }} ',
    "{{ d.x is mapping and d.x.y is sequence }} {{ d.x['y'][0] }} {{ d['x'].y[-1]['z'] }} {{ msgs[0].role }} {{ msgs[0]['content'] }} {{ msgs[-1:] }} {{ msgs[1:] }}",
    '{{ big }} {{ big + 1 }} {{ big * 1.0 }}',
    '{{ 9223372036854775807 }} {{ 9223372036854775807 + 0 }}',
    "{{ 'İSTANBUL'|lower }} {{ 'ΑΣ'|lower }} {{ 'ΣΑ ΑΣΑ'|lower }} {{ 'ǆ'|upper }} {{ 'straße'|upper }}",
    '{{ \'a\\u0301\' }} {{ [\'\\u200b\\u00ad\\n\\x00é\\U0001F642\\ue000\'] }} {{ ["it\'s"] }} {{ [\'"\'] }} {{ [\'\\\'"\'] }}',
    "{{ d.x.y|map(attribute='z')|list }}",
    "{{ [d]|map(attribute='x.y.1.z')|list }}",
    '{{ loop }}',
    '{{ loop.index }}',
    '{%- for m in msgs -%}{%- set loop_m = loop -%}{{ loop_m.last }}{%- endfor -%}',
    "{{ s|attr('upper') is defined }} {{ d|attr('b') is defined }}",
    '{{ 1.0|string }} {{ 1e22|string }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ 0.1+0.2 }} {{ 1e21 }} {{ 123456789.123 }}',
    "{{ [1,2]|join(1) }} {{ {'a':1}|join('-') }} {{ 'abc'|join('-') }} {{ none|join }}",
    "{% set x = [] %}{% set x = x + [1] %}{{ x }}{% set s2 = s[:3] + '...' %}{{ s2 }}{{ 'a' + 1|string }}",
    "{{ 'a' + 1 }}",
    "{{ 1 < 'a' }}",
    '{{ {[1]: 2} }}',
    "{{ {'a': 1, 'a': 2} }} {{ {1: 'x', true: 'y'} }} {{ d|length }} {{ (1,2)|first }} {{ (1,2)[0] }} {{ {(1,2): 3} }} {{ 'x' in {'x'} }}",
    '{{ s ~ \'}}\' }} {{ \'%}\' }} {{ "{{" }} {{ \'{%\' }}',
    "{{ d.b if d.b is defined else 'no' }} {{ d['zz'] is defined }} {{ d.zz.yy is defined }}",
    '{{ none is defined }} {{ None }} {{ True }} {{ FALSE is defined }} {{ (none) is none }}',
    "{% set content = none %}{{ content is not none }}{{ content or '' }}{{ content|default('', true) }}{% if content %}{% endif %}",
    '{% for i in range(3) %}{% for j in range(2) %}{{ loop.depth }}{{ i }}{{ j }}{% endfor %}{% endfor %}',
    '{{ u[3] }}{{ u[-1] }}{{ u|length }}{{ u[4:6] }}{{ u|list }}{{ u.split() }}{{ u|wordcount }}',
    "{{ [1,[2,{'a':none}],'x',1.5,true]|string }}",
    "{{ html|forceescape }} {{ '%s' % html|e }} {{ ('%s'|safe) }}",
    "{{ '3' * 2 + '1' }} {{ '7' == 7|string }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 1 // 0 }}",
    "{{ l|map('foo')|list }}",
    "{{ l|select('foo')|list }}",
    "{{ s.lower().strip().split(' ')[0] }}",
    "{{ {'a': 1}.items()|list|first }} {{ {'a': 1}.items()|first }} {{ {'a':1}.keys()|join }}",
    "{{ [3,1]|sort|first }} {{ 'b' in ['a','b'] }} {{ ['x']|first|upper }} {{ [1,2,3][1:][0] }} {{ [[1,2],[3]]|map('length')|list }} {{ [' a ']|map('trim')|list }} {{ [1,2]|map('string')|list }} {{ ['1']|map('int')|sum }} {{ ll|map(attribute='n')|unique|join(',') }}",
]


def by_jinja(template):
    try:
        return _compile_jinja_template(template).render(**VARIABLES)
    except Exception:
        return None


def pieces(template):
    """A refused line of several expressions is taken apart, so that one of them does not hide the others."""
    parts = re.findall(r"\{\{.*?\}\}", template)
    return parts if len(parts) > 1 and "{%" not in template and by_jinja(template) is None else [template]


def main():
    cases = [[piece, by_jinja(piece)] for template in TEMPLATES for piece in pieces(template)]
    versions = {name: importlib.metadata.version(name) for name in ("jinja2", "transformers")}
    golden = {"command": "python scripts/golden/template.py", "versions": versions, "variables": VARIABLES, "cases": cases}
    (ROOT / "template.json").write_text(json.dumps(golden, ensure_ascii=True) + "\n")
    print(len(cases), "cases,", sum(text is None for _, text in cases), "refused")


if __name__ == "__main__":
    main()
