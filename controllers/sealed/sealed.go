// Package sealed is the form of the files that an agent keeps in its state folder: a
// first line with the format, its version and a checksum, then JSON. It does not read
// or write files, and does not know what is in them.
package sealed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Errors of Open.
var (
	// ErrVersion: the content is of another version of the format.
	ErrVersion = errors.New("it is of another version")
	// ErrChecksum: the content is not what was sealed.
	ErrChecksum = errors.New("its checksum is not right")
)

// Format of a file: its name, as in "tierwall kept state", and its version, which
// changes with the JSON.
type Format struct {
	Name    string
	Version int
}

func (f Format) line() string { return fmt.Sprintf("%s %d sha256:", f.Name, f.Version) }

// Seal returns the content of a file that holds v: of the same v, the same bytes.
func (f Format) Seal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return f.SealJSON(data), nil
}

// SealJSON is Seal of what is JSON already.
func (f Format) SealJSON(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append([]byte(f.line()+hex.EncodeToString(sum[:])+"\n"), data...)
}

// Open reads the content of a file into v, which must know all fields. Errors
// are ErrVersion, ErrChecksum and those of package json.
func (f Format) Open(content []byte, v any) error {
	line, data, found := bytes.Cut(content, []byte("\n"))
	sum, ours := strings.CutPrefix(string(line), f.line())
	if !ours && strings.HasPrefix(string(line), f.Name+" ") {
		return fmt.Errorf("%w: %q", ErrVersion, line[:min(len(line), 40)])
	}
	if want := sha256.Sum256(data); !ours || !found || sum != hex.EncodeToString(want[:]) {
		return ErrChecksum
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
