package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bootUnit is the unit that puts in force what is kept, before the network comes up.
const bootUnit = "../config/systemd/tierwall-boot.service"

// networkFirst brings the network up before sysinit.target, as cloud-init does.
const networkFirst = `[Unit]
DefaultDependencies=no
After=network-pre.target
Wants=network-pre.target
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/true
`

const someKubelet = `[Unit]
After=network-online.target
[Service]
ExecStart=/bin/true
`

func TestBootUnitRunsTheAgentBeforeTheNetwork(t *testing.T) {
	b, err := os.ReadFile(bootUnit)
	if err != nil {
		t.Fatal(err)
	}
	text := "\n" + string(b)
	for _, want := range []string{
		"\nDefaultDependencies=no\n", "\nWants=network-pre.target\n", "\nBefore=network-pre.target kubelet.service shutdown.target\n",
		"\nConflicts=shutdown.target\n", "\nType=oneshot\n", "\nConditionPathExists=/var/lib/tierwall/boot.state\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %q", strings.TrimSpace(want))
		}
	}
	_, command, _ := strings.Cut(text, "\nExecStart=/usr/local/bin/tierwall ")
	command, _, _ = strings.Cut(command, "\n")
	c, rest, err := newRootCommand("tierwall", streams{}).Find(strings.Fields(command))
	if err != nil || c.Name() != "agent" {
		t.Fatalf("%q: %v", command, err)
	}
	if err := c.ParseFlags(rest); err != nil || c.Flags().Lookup("boot").Value.String() != "true" {
		t.Errorf("%q: %v", command, err)
	}
}

// systemd leaves out jobs of the boot to break a cycle, so there must be none.
func TestBootUnitIsNoCycle(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here; the test above holds the lines that it is about")
	}
	b, err := os.ReadFile(bootUnit)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"tierwall-boot.service": strings.ReplaceAll(string(b), "/usr/local/bin/tierwall", "/bin/true"),
		"network-first.service": networkFirst, "kubelet.service": someKubelet,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for target, unit := range map[string]string{"sysinit": "network-first", "multi-user": "tierwall-boot"} {
		wants := filepath.Join(dir, target+".target.wants")
		if err := os.Mkdir(wants, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../"+unit+".service", filepath.Join(wants, unit+".service")); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(analyze, "verify", "--man=no", "multi-user.target", "tierwall-boot.service")
	c.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":/lib/systemd/system:/usr/lib/systemd/system")
	out, _ := c.CombinedOutput() // its status is also that of other units of this machine
	if text := string(out); strings.Contains(text, "cycle") || strings.Contains(text, "tierwall-boot") {
		t.Error(text)
	}
}
