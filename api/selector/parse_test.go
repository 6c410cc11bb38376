package selector

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "all()"},
		{" \t\r\n", "all()"},
		{"all()", "all()"},
		{" all ( ) ", "all()"},
		{"global()", "global()"},
		{"!global( )", "!global()"},
		{"has(a)", "has(a)"},
		{"has( a )", "has(a)"},
		{`a=="b"`, "a == 'b'"},
		{"a=='b'", "a == 'b'"},
		{"a  !=\n'b'", "a != 'b'"},
		{`a == "it's"`, `a == "it's"`},
		{`a == '"'`, `a == '"'`},
		{`a == ''`, `a == ''`},
		{`a == '&& || ( ) ` + "`" + `'`, `a == '&& || ( ) ` + "`" + `'`},
		{`a == 'grün'`, `a == 'grün'`},
		{`a in {'c', "a",'b'}`, "a in {'a', 'b', 'c'}"},
		{`a in {'b','a',}`, "a in {'a', 'b'}"},
		{`a in{'b'}`, "a == 'b'"},
		{`a not  in {'b', 'a', 'b'}`, "a not in {'a', 'b'}"},
		{`a notin{'b', 'a'}`, "a not in {'a', 'b'}"},
		{"a contains 'b'", "a contains 'b'"},
		{"a contains'b'", "a contains 'b'"},
		{"a starts  with 'b'", "a starts with 'b'"},
		{"a starts\n\twith'b'", "a starts with 'b'"},
		{"a startswith 'b'", "a starts with 'b'"},
		{"a ends with 'b'", "a ends with 'b'"},
		{"a endswith 'b'", "a ends with 'b'"},
		// Words of the language are keys where a key stands.
		{"has == 'x' && all == 'x' && global == 'x'", "all == 'x' && global == 'x' && has == 'x'"},
		{"in in {'a','b'}", "in in {'a', 'b'}"},
		{"not not in {'a','b'}", "not not in {'a', 'b'}"},
		{"not in {'a','b'}", "not in {'a', 'b'}"},
		{"has(has)", "has(has)"},
		{"contains contains 'contains'", "contains contains 'contains'"},
		{"starts starts with 'x' || startswith startswith 'x'", "starts starts with 'x' || startswith starts with 'x'"},
		// Keys.
		{"app.kubernetes.io/Name_0-1 == 'x'", "app.kubernetes.io/Name_0-1 == 'x'"},
		{"a/b/c == 'x'", "a/b/c == 'x'"},
		{"-._/0 == 'x'", "-._/0 == 'x'"},
		{"has(" + strings.Repeat("k", 600) + ")", "has(" + strings.Repeat("k", 600) + ")"},
		// Precedence: ! before && before ||.
		{"has(a) || has(b) && has(c)", "has(a) || has(b) && has(c)"},
		{"has(c) && has(b) || has(a)", "has(a) || has(b) && has(c)"},
		{"(has(a) || has(b)) && has(c)", "has(c) && (has(a) || has(b))"},
		{"!has(a) && has(b)", "!has(a) && has(b)"},
		{"!has(b) || has(a)", "has(a) || !has(b)"},
		{"!a == 'x' && has(b)", "a != 'x' && has(b)"},
		{"! a in {'x', 'y'}", "a not in {'x', 'y'}"},
		{"!a contains 'x'", "!a contains 'x'"},
		{"((((has(a)))))", "has(a)"},
		{"!!!has(a)", "!has(a)"},
		{"! ! has(a)", "has(a)"},
	} {
		s, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if s.String() != c.want {
			t.Errorf("Parse(%q) is %s, want %s", c.in, s, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	const operators = "'==', '!=', 'in', 'not in', 'contains', 'starts with' or 'ends with'"
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ in, want string }{
		{"app", "at 4: expected " + operators + ` after "app"; write has(KEY) to ask whether a label is there`},
		{"app == 'x' && app", "at 18: expected " + operators + ` after "app"; write has(KEY) to ask whether a label is there`},
		{"app && has(x)", "at 5: expected " + operators + ` after "app", found '&&'; write has(KEY) to ask whether a label is there`},
		{"app is 'x'", "at 5: expected " + operators + ` after "app", found "is"`},
		{"not has(x)", "at 5: expected " + operators + ` after "not", found "has"; negation is written '!'`},
		{"app 'x'", "at 5: expected " + operators + ` after "app", found 'x'`},
		{"a = 'x'", "at 3: expected '==', found a single '='"},
		{"a == 'x' & b == 'y'", "at 10: expected '&&', found a single '&'"},
		{"a == 'x' | b == 'y'", "at 10: expected '||', found a single '|'"},
		{"a == b", `at 6: expected a value in quotes after '==', found "b"; write 'b'`},
		{"a != true", `at 6: expected a value in quotes after '!=', found "true"; write 'true'`},
		{"a ==", "at 5: expected a value in quotes after '=='"},
		{"a contains b", `at 12: expected a value in quotes after "contains", found "b"; write 'b'`},
		{"a starts with ", `at 15: expected a value in quotes after "with"`},
		{"a == " + long, `at 6: expected a value in quotes after '==', found "` + long[:29] + `..."`},
		{"a in 'x'", "at 6: expected '{' after \"in\", found 'x'"},
		{"a not 'x'", "at 7: expected 'in' after \"not\", found 'x'"},
		{"a starts 'x'", "at 10: expected 'with' after \"starts\", found 'x'"},
		{"a in {x}", `at 7: expected a value in quotes after '{', found "x"; write 'x'`},
		{"a in {", "at 7: expected a value in quotes or '}' after '{'"},
		{"a in {,}", "at 7: expected a value in quotes or '}' after '{', found ','"},
		{"a in {'x',", "at 11: expected a value in quotes after ','"},
		{"a in {'x' 'y'}", "at 11: expected ',' or '}' after 'x', found 'y'"},
		{"a in {'x'", "at 10: expected ',' or '}' after 'x'"},
		{"'a' == 'b'", "at 1: expected a label key, found 'a'; keys are written without quotes"},
		{"&& has(a)", "at 1: expected a label key, 'has(', 'all()', 'global()', '!' or '(', found '&&'"},
		{"has(a) &&", "at 10: expected a label key, 'has(', 'all()', 'global()', '!' or '(' after '&&'"},
		{"has(a) || )", "at 11: expected a label key, 'has(', 'all()', 'global()', '!' or '(' after '||', found ')'"},
		{"!", "at 2: expected a label key, 'has(', 'all()', 'global()', '!' or '(' after '!'"},
		{"()", "at 2: expected a label key, 'has(', 'all()', 'global()', '!' or '(' after '(', found ')'"},
		{"(", "at 2: expected a label key, 'has(', 'all()', 'global()', '!' or '(' after '('"},
		{"  (has(a)", "at 10: no ')' for the '(' at 3"},
		{"(has(a) has(b))", "at 9: expected '&&', '||' or the end after ')', found \"has\""},
		{"has(a))", "at 7: expected '&&', '||' or the end after ')', found ')'"},
		{"a == 'x' and b == 'y'", "at 10: expected '&&', '||' or the end after 'x', found \"and\"; write '&&'"},
		{"a == 'x' OR b == 'y'", "at 10: expected '&&', '||' or the end after 'x', found \"OR\"; write '||'"},
		{"a == 'x' b == 'y'", "at 10: expected '&&', '||' or the end after 'x', found \"b\""},
		{"has()", "at 5: expected a label key after '(', found ')'"},
		{"has('x')", "at 5: expected a label key after '(', found 'x'; keys are written without quotes"},
		{"has(x", "at 6: expected ')' after \"x\""},
		{"has(x y)", "at 7: expected ')' after \"x\", found \"y\""},
		{"all(x)", "at 5: expected ')' after '(', found \"x\"; all() takes no argument"},
		{"global('')", "at 8: expected ')' after '(', found ''; global() takes no argument"},
		{"has(a) && size(x)", `at 11: unknown function "size"; there are has(key), all() and global()`},
		{"a == 'x", "at 6: no closing ' for the value that starts here"},
		{`a == "x'`, `at 6: no closing " for the value that starts here`},
		{"a == ‘x’", `at 6: unexpected character '\u2018'; a value is written between ' or "`},
		{"a == `x`", "at 6: unexpected character '`'; a value is written between ' or \""},
		{"ns:a == 'x'", "at 3: unexpected ':'; a label key has letters, digits, '.', '_', '-' and '/' only"},
		{"has(:kind)", "at 5: unexpected ':'; a label key has letters, digits, '.', '_', '-' and '/' only"},
		{"ä == 'x'", `at 1: unexpected character '\u00e4'`},
		{"a == 'x' % ", "at 10: unexpected character '%'"},
		{"a\u00a0== 'x'", `at 2: unexpected character '\u00a0'`},
		{"\xff", "at 1: unexpected byte 0xff, which is not UTF-8"},
		{"a == 'x\x1by'", `at 8: a value cannot contain character '\x1b'`},
		{"a == 'x\ny'", `at 8: a value cannot contain character '\n'`},
		{"a == 'x\u0085'", `at 8: a value cannot contain character '\u0085'`},
		{"a == 'ü\xff'", "at 9: a value cannot contain byte 0xff, which is not UTF-8"},
		{"a == 'x'; DROP", "at 9: unexpected character ';'"},
		{"a == '" + long + "' 'y'", `at 309: expected '&&', '||' or the end after "'` + long[:28] + `...", found 'y'`},
	} {
		_, err := Parse(c.in)
		if err == nil {
			t.Errorf("Parse(%q) succeeds", c.in)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("Parse(%q):\n%s\nwant\n%s", c.in, err, c.want)
		}
		var e *Error
		if !errors.As(err, &e) || !strings.HasSuffix(c.want, ": "+e.Msg) {
			t.Errorf("Parse(%q): %#v", c.in, err)
		}
	}
}

func TestLimits(t *testing.T) {
	term := func(n int) string { return "has(" + strings.Repeat("k", n-5) + ")" }
	for _, c := range []struct{ name, in, want string }{
		{"longest", term(MaxLength), ""},
		{"too long", term(MaxLength + 1), "at 8193: the selector is 8193 bytes long; the limit is 8192"},
		{"1 MB", term(1 << 20), "at 8193: the selector is 1048576 bytes long; the limit is 8192"},
		{"1 MB of white space", strings.Repeat(" ", 1<<20), "at 8193: the selector is 1048576 bytes long; the limit is 8192"},
		{"10,000 deep", strings.Repeat("(", 10000) + "has(a)" + strings.Repeat(")", 10000), "at 8193: the selector is 20006 bytes long; the limit is 8192"},
		{"deepest", strings.Repeat("(", MaxDepth) + "has(a)" + strings.Repeat(")", MaxDepth), ""},
		{"too deep", strings.Repeat("(", MaxDepth+1) + "has(a)" + strings.Repeat(")", MaxDepth+1), "at 65: parentheses and '!' nest more than 64 deep"},
		{"unclosed", strings.Repeat("(", 4000), "at 65: parentheses and '!' nest more than 64 deep"},
		{"most negations", strings.Repeat("!", MaxDepth) + "has(a)", ""},
		{"too many negations", strings.Repeat("!", MaxDepth+1) + "has(a)", "at 65: parentheses and '!' nest more than 64 deep"},
		{"both", strings.Repeat("!(", 33) + "has(a)" + strings.Repeat(")", 33), "at 65: parentheses and '!' nest more than 64 deep"},
		{"side by side", strings.Repeat("(!has(a)) && ", 600) + "has(b)", ""},
	} {
		_, err := Parse(c.in)
		switch {
		case err == nil && c.want != "":
			t.Errorf("%s: no error", c.name)
		case err != nil && err.Error() != c.want:
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}
