package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Image is what an archive holds, for this machine's architecture.
type Image struct {
	// Names are the references it can be run by, each with a registry and a tag.
	Names []string
	// Files make its one layer, in order. Folders above them come by themselves.
	Files []File
	// Entrypoint and Command are what runs; both may be empty.
	Entrypoint, Command []string
	// User is "uid:gid"; empty is root.
	User string
	// Labels describe it.
	Labels map[string]string
}

// File is a file, a link or a folder of an image, owned by root.
type File struct {
	// Path is absolute, inside the image.
	Path string
	// Source is the file of this machine whose content and mode it has.
	Source string
	// Content is its content where there is no Source; its mode is then 0644.
	Content []byte
	// Link makes it a symbolic link.
	Link string
	// Folder makes it a folder, 0755, or 1777 if it is named tmp.
	Folder bool
}

// epoch is the time of everything in an archive.
var epoch = time.Unix(0, 0).UTC()

// WriteFile writes the archive. A file that is there is replaced at once, or not at all.
func (i Image) WriteFile(file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(i.Write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Write writes the archive. The layer is held in memory.
func (i Image) Write(w io.Writer) error {
	if len(i.Names) == 0 {
		return errors.New("image: has no name")
	}
	layer, err := i.layer()
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Names[0], err)
	}
	digest := hexSum(layer)
	config, err := i.config(digest)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Names[0], err)
	}
	configName := hexSum(config) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": i.Names, "Layers": []string{digest + "/layer.tar"},
	}})
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Names[0], err)
	}
	t := tar.NewWriter(w)
	for _, part := range []struct {
		name    string
		content []byte
	}{{configName, config}, {digest + "/layer.tar", layer}, {"manifest.json", manifest}} {
		err := writeEntry(t, tar.Header{Typeflag: tar.TypeReg, Name: part.name, Mode: 0o644}, part.content)
		if err != nil {
			return fmt.Errorf("image %s: %w", i.Names[0], err)
		}
	}
	return t.Close()
}

// config is the image's configuration, which names the layer.
func (i Image) config(layer string) ([]byte, error) {
	run := map[string]any{"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
	if len(i.Entrypoint) > 0 {
		run["Entrypoint"] = i.Entrypoint
	}
	if len(i.Command) > 0 {
		run["Cmd"] = i.Command
	}
	if i.User != "" {
		run["User"] = i.User
	}
	if len(i.Labels) > 0 {
		run["Labels"] = i.Labels
	}
	created := epoch.Format(time.RFC3339)
	return json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": created, "config": run,
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layer}},
		"history": []map[string]any{{"created": created, "created_by": "tierwall test/cluster/image"}},
	})
}

// layer is the tar of the files.
func (i Image) layer() ([]byte, error) {
	var b bytes.Buffer
	l := layerWriter{tar: tar.NewWriter(&b), folders: map[string]bool{}}
	for _, f := range i.Files {
		if err := l.add(f); err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	if err := l.tar.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// layerWriter writes each folder once, before what is in it.
type layerWriter struct {
	tar     *tar.Writer
	folders map[string]bool
}

func (l *layerWriter) add(f File) error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
		return errors.New("is no clean absolute path")
	}
	name := f.Path[1:]
	if f.Folder {
		return l.folder(name)
	}
	if above := path.Dir(name); above != "." {
		if err := l.folder(above); err != nil {
			return err
		}
	}
	if f.Link != "" {
		return writeEntry(l.tar, tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: f.Link, Mode: 0o777}, nil)
	}
	content, mode := f.Content, int64(0o644)
	if f.Source != "" {
		info, err := os.Stat(f.Source)
		if err != nil {
			return err
		}
		if content, err = os.ReadFile(f.Source); err != nil {
			return err
		}
		mode = int64(info.Mode().Perm())
	}
	return writeEntry(l.tar, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content)
}

// folder writes a folder and those above it.
func (l *layerWriter) folder(name string) error {
	if l.folders[name] {
		return nil
	}
	if above := path.Dir(name); above != "." {
		if err := l.folder(above); err != nil {
			return err
		}
	}
	l.folders[name] = true
	mode := int64(0o755)
	if path.Base(name) == "tmp" {
		mode = 0o1777
	}
	return writeEntry(l.tar, tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func writeEntry(t *tar.Writer, h tar.Header, content []byte) error {
	h.Size, h.ModTime = int64(len(content)), epoch
	if err := t.WriteHeader(&h); err != nil {
		return err
	}
	_, err := t.Write(content)
	return err
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// static tells whether a program needs no shared library, so that it runs in
// an image that has none.
func static(file string) error {
	libraries, interpreter, err := dependencies(file)
	if err != nil {
		return err
	}
	if interpreter != "" || len(libraries) > 0 {
		return fmt.Errorf("%s is not statically linked: it needs %s", file, strings.Join(append(libraries, interpreter), ", "))
	}
	return nil
}
