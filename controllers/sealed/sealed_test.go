package sealed

import (
	"bytes"
	"errors"
	"testing"
)

type thing struct {
	Name string `json:"name"`
}

var format = Format{Name: "a thing", Version: 2}

func TestOpen(t *testing.T) {
	content, err := format.Seal(thing{"x"})
	if err != nil {
		t.Fatal(err)
	}
	var got thing
	if err := format.Open(content, &got); err != nil || got.Name != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	other, _ := Format{Name: "a thing", Version: 3}.Seal(thing{"x"})
	for _, tt := range []struct {
		name    string
		content []byte
		want    error // nil: of package json
	}{
		{"nothing", nil, ErrChecksum},
		{"another file", []byte("hello\n{}"), ErrChecksum},
		{"torn", content[:len(content)-1], ErrChecksum},
		{"first line only", content[:bytes.IndexByte(content, '\n')], ErrChecksum},
		{"another version", other, ErrVersion},
		{"an unknown field", format.SealJSON([]byte(`{"size":1}`)), nil},
		{"no JSON", format.SealJSON([]byte(`{`)), nil},
	} {
		err := format.Open(tt.content, &got)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// FuzzOpen: no content makes a panic, and what opens is what was sealed.
func FuzzOpen(f *testing.F) {
	content, _ := format.Seal(thing{"x"})
	f.Add(content)
	f.Add([]byte("a thing 2 sha256:00\n{}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		var v thing
		if format.Open(content, &v) != nil {
			return
		}
		_, data, _ := bytes.Cut(content, []byte("\n"))
		if !bytes.Equal(format.SealJSON(data), content) {
			t.Errorf("%q opens and is not what was sealed", content)
		}
	})
}
