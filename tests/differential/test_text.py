# SPDX-License-Identifier: Apache-2.0
"""String operators against ONNX Runtime: StringConcat, StringSplit, StringNormalizer, RegexFullMatch."""

import os
import random
import sys

import numpy
import pytest

sys.path.insert(0, os.path.dirname(__file__))
from nodes import Batch, session_of, texts  # noqa: E402

SEEDS = range(*[int(n) for n in os.environ.get("TAMIS_SEEDS", "0:4").split(":")])


def test_concat():
    batch = Batch()
    words = texts([["a", ""], ["日本", "x\x00y"]])
    for other in ("!", ["1", "2"], [["1"], ["2"]], [[["p", "q"]], [["", "r"]]]):
        batch.add("StringConcat", [words, texts(other)])
        batch.add("StringConcat", [texts(other), words])
    batch.add("StringConcat", [texts("a"), texts("b")])
    batch.add("StringConcat", [numpy.zeros((0, 2), object), words[:1]])
    batch.check()


def test_split():
    batch = Batch()
    words = texts([["a,b,,c", "", ",x,"], ["a--b", "none", " a  b c "]])
    for delimiter in (",", "--", "b", "  "):
        for most in (None, -1, 0, 1, 2, 9):
            given = numpy.where(words == "", "-", words)
            batch.add("StringSplit", [given], outputs=2, delimiter=delimiter, maxsplit=most)
    for most in (None, 0, 1, 2, 9):
        batch.add("StringSplit", [words], outputs=2, maxsplit=most)
        batch.add("StringSplit", [words], outputs=2, delimiter="", maxsplit=most)
    batch.add("StringSplit", [texts("p q r")], outputs=2)
    batch.add("StringSplit", [texts("aaaa")], outputs=2, delimiter="aa")
    batch.add("StringSplit", [numpy.zeros((2, 0), object)], outputs=2)
    # ONNX Runtime finds no part in an empty string, the standard's reference one.
    one = texts([["", ""], ["a", "b"]]), numpy.array([1, 2])
    batch.add("StringSplit", [texts(["", "a,b"])], outputs=2, delimiter=",", answers=one)
    # ONNX Runtime knows no white space but the blank.
    parts = texts([["a", "b", "c", "d", "e"]]), numpy.array([5])
    batch.add("StringSplit", [texts(["\ta\nb\u00a0c\u2003d \r\ve\u3000"])], outputs=2, answers=parts)
    batch.check()


def test_normalizer():
    batch = Batch()
    words = texts(["Monday", "the", "THE", "äÖÜß", "ΣΊΣΥΦΟΣ", "ǅ ǆ", "ŉ ſ K ı İ", "𐐀𐐨", ""])
    for stops in (None, ["The", "ÄÖÜß"], ["the", "σίσυφοσ", "ΣΊΣΥΦΟΣ", ""]):
        for sensitive in (0, 1):
            for case in ("NONE", "LOWER", "UPPER"):
                batch.add("StringNormalizer", [words], stopwords=stops, is_case_sensitive=sensitive, case_change_action=case,
                          locale="C.UTF-8")
                batch.add("StringNormalizer", [words[None]], stopwords=stops, is_case_sensitive=sensitive,
                          case_change_action=case, locale="C.UTF-8")
    batch.add("StringNormalizer", [texts(["a", "b"])], stopwords=["a", "b"], is_case_sensitive=1, locale="C.UTF-8")
    batch.add("StringNormalizer", [texts([["a", "b"]])], stopwords=["a", "b"], is_case_sensitive=1, locale="C.UTF-8")
    every = texts([chr(code) for code in range(1, 0x1f000) if not 0xd800 <= code < 0xe000])
    batch.add("StringNormalizer", [every], case_change_action="UPPER", locale="C.UTF-8")
    batch.add("StringNormalizer", [every], case_change_action="LOWER", locale="C.UTF-8")
    # The default is en_US, which need not be installed where the test runs; the rest has no counterpart here.
    for locale, case, want in ((None, "UPPER", "IÄ"), ("C", "UPPER", "Iä"), ("POSIX", "UPPER", "Iä"),
                               ("tr_TR.UTF-8", "UPPER", "İÄ"), ("crh_UA", "UPPER", "İÄ"), ("az", "UPPER", "İÄ"),
                               ("ku-TR", "UPPER", "İÄ"), ("trv_TW", "UPPER", "IÄ")):
        batch.add("StringNormalizer", [texts(["iä"])], case_change_action=case, locale=locale, answers=[texts([want])])
    batch.add("StringNormalizer", [texts(["Iİ"])], case_change_action="LOWER", locale="tr_TR", answers=[texts(["ıi"])])
    batch.check()


SUBJECTS = texts([
    "", "a", "b", "ab", "ba", "aa", "aab", "abc", "abcabc", "aaaaaaaaaa", "A", "Ab", "a b", "a\nb", "\n", "a\n", "_", "é", "É",
    "日本語", "日", "k", "K", "\u212a", "s", "ſ", "σ", "ς", "Σ", "ß", "ẞ", "i", "I", "ı", "İ", "0", "42", "-", "]", "^", "[x]",
    "foo.bar@baz.com", "x@y", "{", "a{2}", "a{,2}", "{1", "\t", "\\", "a*", "a.b", "\x7f", "foo bar", " foo", "😀", "\\E",
])

PATTERNS = r"""
a|b  (a|b)*  a*  a+  a?  a??  a+?  (?:ab)+  (ab|a)(bc)?  a{2}  a{2,}  a{1,3}  a{0}  a{0,1}  a{,2}  {1  a{x}  (a{2}){5}
.  ..  .*  (?s).*  (?s).  \.  [.]  [a-c]+  [^a]  [^\n]*  []]  [^]a]  [a-]  [-a]  [\]]  [\\]  []-_]  [a\-z]  [[:alpha:]]+
[[:^alpha:]]  [[:digit:]x]+  [[:punct:]]  [[:space:]]  [[:word:]]+  [[:upper:]]  (?i)[[:upper:]]  (?i)[[:^upper:]]
\d+  \D  \w+  \W  \s  \S+  [\d\s]+  [^\w]  [\W]  (?i)\w  (?i)\W  \t  \n  \x61  \x{65e5}  \x{1F600}  \141  \012  \0  \-  \_
^a$  ^a  a$  \Aa\z  (?m)a$\n^b  (?m)^a$  a$\nb  \ba\b  \b  \B  \bfoo\b.*  foo\b\sbar  \Bfoo  a\Bb  ^*a  $*a  (^a)+  (?m)^$\n^$
(?i)a  (?i)ab  (?i)k  (?i)s  (?i)é  (?i)σ  (?i)ß  (?i)i  (?i)[k-l]  (?i)[^k]  (?i)日  a(?i)B  (?i:a)b  ((?i)a)b  (?i-s:A).
(?U)a+  (?imsU-imsU:a)  (?P<name>a)b  (?<name>a)b  ()  a||b  |  (|a)+  (a*)*  (a*)+b  ((a)(b))c  (?:)  (?:a|)b
\Qa.b\E  \Qa*\E  \Q[x]  \Q\\E  \Qa\E+  [\x{0}-\x{10FFFF}]  [^\x{0}-\x{10FFFF}]  é|É  日本.  [日本]+.?  .+@.+\..+  \pN?
(\W|^)[\w.\-]{0,25}@(yahoo|gmail|baz)\.com(\W|$)  (\w+)\.(\w+)@\w+\.\w{2,3}  (a|ab)(c|bcd)?  x*y*a*b*c*  (?:a{0,10}){0,10}
""".split()
PATTERNS = [p for p in PATTERNS if "\\p" not in p] + ["a b", "[a ]+", "(a|b| )*", ""]


def test_patterns():
    batch = Batch()
    for pattern in PATTERNS:
        batch.add("RegexFullMatch", [SUBJECTS], pattern=pattern)
    batch.check()


def random_pattern(r, depth=0):
    kind = r.randrange(9 if depth < 4 else 3)
    if kind == 0:
        return r.choice(["a", "b", "c", ".", "é", r"\n", r"\w", r"\D", "^", "$", r"\b", r"\B", "", "日", "k"])
    if kind == 1:
        return r.choice(["[ab]", "[^a]", "[a-c]", r"[\da]", "[[:alpha:]]", "[^é]"])
    if kind == 2:
        return r.choice(["ab", "ba", "(?i:K)", "(?s:.)", "(?m:$)", "(?m:^)"])
    if kind in (3, 4):
        return random_pattern(r, depth + 1) + random_pattern(r, depth + 1)
    if kind == 5:
        return f"(?:{random_pattern(r, depth + 1)}|{random_pattern(r, depth + 1)})"
    repeat = r.choice(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "{0}"])
    return f"({random_pattern(r, depth + 1)}){repeat}"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_patterns(seed):
    r = random.Random(seed)
    subjects = ["".join(r.choice("abc\né日kK1 ") for _ in range(r.randrange(8))) for _ in range(60)]
    batch = Batch()
    for _ in range(150):
        batch.add("RegexFullMatch", [texts(subjects)], pattern=random_pattern(r))
    batch.check()


@pytest.mark.parametrize("pattern, reason", [
    ("a(", "lacks its )"), ("a)", "closes no group"), ("[a", "lacks its ]"), ("[b-a]", "before it begins"),
    ("*a", "nothing to repeat"),
    ("a|*", "nothing to repeat"), ("a**", "repetition of a repetition"), ("a{2}{3}", "repetition of a repetition"),
    ("a{1001}", "above 1000"), ("a{3,2}", "above 1000 or fall"), ("(?=a)", "look-around"), ("(?<=a)", "look-around"),
    ("(?x)a", "unknown flags"),
    ("(?P<1-2>a)", "name of a group"), (r"(a)\1", "backreferences"), (r"\pL", "not supported"), (r"\p{Greek}", "not supported"),
    (r"\C", "not supported"), (r"\Z", "no such escape"), (r"\x4", "hexadecimal"), (r"\x{110000}", "hexadecimal"),
    ("\\", "nothing follows"),
    ("[[:foo:]]", "no class"), ("((a{100}){100}){100}", "too many states"), ("(" * 1001 + ")" * 1001, "nested too deep"),
])
def test_refused_patterns(pattern, reason):
    batch = Batch()
    batch.add("RegexFullMatch", [texts(["a"])], pattern=pattern)
    with pytest.raises(Exception, match=reason.replace("(", r"\(").replace(")", r"\)").replace("]", r"\]")):
        session_of(batch.model(batch.nodes, ["y0_0"]))
