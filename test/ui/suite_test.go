package ui

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var update = flag.Bool("update", false, "write the screenshots of docs/ui anew")

// repository is the root of Tierwall's module.
const repository = "../.."

var browser, program string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// prepare finds the browser and builds the program.
func prepare(m *testing.M) (int, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		const missing = "THE PAGE IS NOT TESTED: there is no chromium on this machine; install Debian's package chromium"
		if os.Getenv("CI") != "" {
			return 1, fmt.Errorf("%s", missing)
		}
		fmt.Fprintln(os.Stderr, missing)
	}
	dir, err := os.MkdirTemp("", "tierwall-ui")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "tierwall")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

var printed = regexp.MustCompile(`http://\S+/#key=\S+`)

// serve runs tierwall ui with the arguments and returns the address that it prints.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command(program, append([]string{"ui"}, args...)...)
	c.Dir, c.Stderr = repository, os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address := printed.FindString(lines.Text()); address != "" {
			return address
		}
	}
	t.Fatal("tierwall ui has ended without an address")
	return ""
}

// tab is a tab of the browser with the page in it.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu     sync.Mutex
	faults []string
}

// open opens the address in a new browser. At the end of the test, requests to other hosts
// and errors in the console are failures.
func open(t *testing.T, address string) *tab {
	t.Helper()
	if browser == "" {
		t.Skip("NOT RUN: there is no chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1440, 900))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	x := &tab{t: t, ctx: ctx, base: "http://" + u.Host + "/"}
	fault := func(format string, args ...any) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.faults = append(x.faults, fmt.Sprintf(format, args...))
	}
	if err := chromedp.Do(ctx); err != nil { // starts the browser, which lives until the test ends
		t.Fatal(err)
	}
	x.ctx, stop = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(stop)
	err = chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *network.EventRequestWillBeSent:
			if got, err := url.Parse(e.Request.URL); err != nil || got.Host != u.Host && got.Scheme != "data" {
				fault("a request to another host: %s", e.Request.URL)
			}
		case *runtime.EventExceptionThrown:
			fault("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.Text, "422") && !strings.Contains(e.Entry.Text, "401") {
				fault("console: %s %s", e.Entry.Text, e.Entry.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, f := range x.faults {
			t.Error(f)
		}
	})
	x.run(chromedp.Navigate(address), chromedp.WaitVisible(chromedp.CSS("main h1")))
	return x
}

func (x *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	x.t.Helper()
	if err := chromedp.Do(x.ctx, actions...); err != nil {
		x.t.Fatal(err)
	}
}

// view goes to a view and waits for something on it.
func (x *tab) view(fragment, wait string) {
	x.t.Helper()
	eval[string](x, fmt.Sprintf("location.hash = %q", "#/"+fragment))
	x.there(wait)
	eval[bool](x, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, chromedp.EvalAwaitPromise)
}

// eval evaluates an expression of JavaScript.
func eval[T any](x *tab, expression string, options ...chromedp.EvaluateOption) T {
	x.t.Helper()
	out, err := chromedp.Run(x.ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		x.t.Fatalf("%s: %v", expression, err)
	}
	return out
}

// until waits for an expression to be true. (The content security policy of the page
// refuses what chromedp.Poll does.)
func (x *tab) until(expression string) {
	x.t.Helper()
	ctx, stop := context.WithTimeout(x.ctx, 20*time.Second)
	defer stop()
	wait := fmt.Sprintf("new Promise((done) => { const look = () => ((%s) ? done(true) : setTimeout(look, 10)); look(); })", expression)
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](wait, chromedp.EvalAwaitPromise)); err != nil {
		x.t.Fatalf("%s: %v", expression, err)
	}
}

// there waits for an element. (What chromedp waits for to be visible must be of HTML.)
func (x *tab) there(selector string) {
	x.t.Helper()
	x.until(fmt.Sprintf("document.querySelector(%q) !== null", selector))
}

// focus moves the focus to an element.
func (x *tab) focus(selector string) {
	x.t.Helper()
	x.there(selector)
	eval[bool](x, fmt.Sprintf("document.querySelector(%q).focus() ?? true", selector))
}

// scheme has the browser prefer dark or light.
func (x *tab) scheme(name string) {
	x.t.Helper()
	prefers := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(x.ctx, emulation.SetEmulatedMedia, prefers); err != nil {
		x.t.Fatal(err)
	}
}
