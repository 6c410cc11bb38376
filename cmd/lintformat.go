package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/tierwall/tierwall/policy/lint"
)

// The formats that only `lint` has.
const (
	formatSARIF  = "sarif"
	formatGitHub = "github"
)

// reportVersion is the apiVersion of what commands report in JSON and YAML.
const reportVersion = "tierwall.io/v1alpha1"

// print writes the report in the format of -o.
func (f *lintFlags) print(s streams, r lintReport) error {
	switch f.out.format {
	case formatText:
		return printFindings(s, r)
	case formatSARIF:
		return writeSARIF(s.out, r)
	case formatGitHub:
		return writeAnnotations(s.out, r)
	}
	return f.out.write(s.out, r)
}

// text is what a finding says, with its object and field.
func (l *located) text() string {
	var b strings.Builder
	for _, part := range []string{l.Object, l.Field} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	return plain(b.String() + l.Message)
}

// position is "file:line:column: " as far as it is known.
func (l *located) position() string {
	switch {
	case l.File == "":
		return ""
	case l.Line == 0:
		return plain(l.File) + ": "
	case l.Column == 0:
		return fmt.Sprintf("%s:%d: ", plain(l.File), l.Line)
	}
	return fmt.Sprintf("%s:%d:%d: ", plain(l.File), l.Line, l.Column)
}

// printFindings writes one line a finding: file:line:column: severity: message (code).
func printFindings(s streams, r lintReport) error {
	c := coloursFor(s.out)
	for i := range r.Findings {
		f := &r.Findings[i]
		severity := string(f.Severity)
		switch f.Severity {
		case lint.Error:
			severity = c.red(severity)
		case lint.Warning:
			severity = c.yellow(severity)
		default:
			severity = c.dim(severity)
		}
		if _, err := fmt.Fprintf(s.out, "%s%s: %s (%s)\n", f.position(), severity, f.text(), f.Code); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(s.out, r.Summary)
	return err
}

// writeAnnotations writes the workflow commands by which a GitHub Actions job shows
// findings beside the lines of a change.
func writeAnnotations(w io.Writer, r lintReport) error {
	value := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for i := range r.Findings {
		f := &r.Findings[i]
		level := map[lint.Severity]string{lint.Error: "error", lint.Warning: "warning"}[f.Severity]
		if level == "" {
			level = "notice"
		}
		properties := []string{"title=" + value.Replace(f.Code)}
		if f.File != "" {
			properties = append(properties, "file="+value.Replace(plain(filepath.ToSlash(f.File))))
			if f.Line > 0 {
				properties = append(properties, fmt.Sprintf("line=%d", f.Line))
			}
			if f.Column > 0 {
				properties = append(properties, fmt.Sprintf("col=%d", f.Column))
			}
		}
		if _, err := fmt.Fprintf(w, "::%s %s::%s\n", level, strings.Join(properties, ","), data.Replace(f.text())); err != nil {
			return err
		}
	}
	return nil
}

// lintPage documents the codes.
const lintPage = "https://github.com/tierwall/tierwall/blob/main/docs/lint.md"

// The part of SARIF 2.1.0 that a linter needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
		HelpURI          string    `json:"helpUri"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation struct {
			ArtifactLocation struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

// sarifLevels are the levels of SARIF.
var sarifLevels = map[lint.Severity]string{lint.Error: "error", lint.Warning: "warning", lint.Info: "note"}

// writeSARIF writes the report as a SARIF 2.1.0 log.
func writeSARIF(w io.Writer, r lintReport) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "tierwall", Version: currentVersion().Version, InformationURI: "https://github.com/tierwall/tierwall"}
	index := map[string]int{}
	for i, c := range lint.Codes {
		index[c.Name] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: c.Name, ShortDescription: sarifText{c.Summary}, HelpURI: lintPage + "#" + c.Name})
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		result := sarifResult{RuleID: f.Code, RuleIndex: index[f.Code], Level: sarifLevels[f.Severity], Message: sarifText{f.text()}}
		if f.File != "" {
			var at sarifLocation
			at.PhysicalLocation.ArtifactLocation.URI = (&url.URL{Path: filepath.ToSlash(f.File)}).String()
			if f.Line > 0 {
				at.PhysicalLocation.Region = &sarifRegion{StartLine: f.Line, StartColumn: f.Column}
			}
			result.Locations = []sarifLocation{at}
		}
		run.Results = append(run.Results, result)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}
