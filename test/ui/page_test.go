package ui

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

var samples = []string{"-f", "config/samples", "--records", "config/samples/flows.jsonl"}

const why = "why?from=shop/frontend&to=payments/payments-api&port=8443/TCP"

// views are what is looked at: the fragment, and what is there when it is drawn.
var views = []struct{ name, fragment, wait string }{
	{"board", "board?open=GlobalNetworkPolicy/block-known-bad,NetworkPolicy/shop/backends-from-frontend", ".card .rules"},
	{"map", "map", ".graph svg"},
	{"map-chosen", "map?end=ns:shop|shop/frontend", ".panel"},
	{"map-may-reach", "map?of=policy", ".graph svg"},
	{"heat", "map?as=heat&of=policy", "table.matrix"},
	{"heat-seen", "map?as=heat", "table.matrix"},
	{"table", "map?as=table", "main td"},
	{"flows", "flows", "table.flows td"},
	{"why", why, ".answer"},
	{"whatif", "whatif?audited=true", ".totals"},
}

// TestScreenshots looks at each view, in light and dark and three widths: nothing is cut
// off, all text has contrast.
func TestScreenshots(t *testing.T) {
	x := open(t, serve(t, samples...))
	for _, size := range [][2]int64{{640, 900}, {1440, 900}, {3840, 2160}} {
		for _, colours := range []string{"light", "dark"} {
			x.run(chromedp.EmulateViewport(size[0], size[1]))
			x.scheme(colours)
			for _, v := range views {
				x.view(v.fragment, v.wait)
				where := fmt.Sprintf("%s, %s, %d wide", v.name, colours, size[0])
				if wide := eval[int64](x, `document.documentElement.scrollWidth`); wide > size[0] {
					t.Errorf("%s: the page is %d wide", where, wide)
				}
				if size[0] == 1440 {
					for _, low := range eval[[]string](x, contrast) {
						t.Errorf("%s: %s", where, low)
					}
				}
				x.shot(v.name, colours, size[0])
			}
		}
	}
}

// shot writes a screenshot: those of 1440 for docs/ui, with -update; the others where
// TIERWALL_SHOTS says.
func (x *tab) shot(name, colours string, width int64) {
	x.t.Helper()
	dir := os.Getenv("TIERWALL_SHOTS")
	if *update && width == 1440 && (colours == "light" || name == "board" || name == "map") {
		dir = filepath.Join(repository, "docs", "ui")
	} else if dir == "" {
		return
	}
	if colours == "dark" {
		name += "-dark"
	}
	if width != 1440 {
		name += fmt.Sprintf("-%d", width)
	}
	png, err := chromedp.Run(x.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		x.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		x.t.Fatal(err)
	}
}

// contrast lists texts with less contrast than WCAG 2.1 AA wants of normal text, 4.5.
const contrast = `(() => {
	const canvas = document.createElement("canvas");
	canvas.width = canvas.height = 1;
	const c = canvas.getContext("2d", { willReadFrequently: true });
	const rgba = (css) => { c.clearRect(0, 0, 1, 1); c.fillStyle = css; c.fillRect(0, 0, 1, 1); const d = c.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
	const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
	const light = (p) => { const l = p.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
	const behind = (el) => { const list = []; for (; el; el = el.parentElement) list.push(rgba(getComputedStyle(el).backgroundColor)); return list.reverse().reduce((under, p) => over(p, under), [255, 255, 255, 1]); };
	const out = new Set();
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n = texts.nextNode(); n; n = texts.nextNode()) {
		const el = n.parentElement;
		if (!n.data.trim() || el.closest(".sr, .skip, button:disabled, svg, script, noscript, option") || !el.checkVisibility()) continue;
		const s = getComputedStyle(el);
		let opacity = 1;
		for (let p = el; p; p = p.parentElement) opacity *= getComputedStyle(p).opacity;
		const back = behind(el), ink = rgba(s.color);
		ink[3] *= opacity;
		const a = light(over(ink, back)), b = light(back);
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) out.add(el.tagName + "." + el.className + " " + JSON.stringify(n.data.trim().slice(0, 30)) + ": contrast " + ratio.toFixed(2));
	}
	return [...out];
})()`

// TestFlowToWhy filters flows, opens one, and finds why and a policy test.
func TestFlowToWhy(t *testing.T) {
	x := open(t, serve(t, samples...))
	x.view("flows?action=Deny", "table.flows td")
	if n := eval[int](x, `[...document.querySelectorAll(".flows tbody tr")].filter((r) => !r.classList.contains("deny")).length`); n != 0 {
		t.Errorf("%d flows of another outcome", n)
	}
	x.run(chromedp.Click(chromedp.CSS(`a[aria-label="Why: shop/frontend to payments/payments-api, 8443/TCP"]`)), chromedp.WaitVisible(chromedp.CSS(".answer")))
	text := eval[string](x, `document.querySelector("main").textContent`)
	for _, want := range []string{"Denied", "The same rules decide now.", "end of tier default", "the receiver's port is 8443", "kind: PolicyTest", "expect: Deny"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	x.until(`location.hash.includes("from=Pod%2Fshop%2Ffrontend")`)
	// The address alone leads to the same.
	x.run(chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS(".answer.deny")))
}

// TestLive: a record that is appended to the file shows up.
func TestLive(t *testing.T) {
	data, err := os.ReadFile(repository + "/config/samples/flows.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	file := filepath.Join(t.TempDir(), "flows.jsonl")
	if err := os.WriteFile(file, []byte(lines[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	x := open(t, serve(t, "-f", "config/samples", "--records", file))
	x.view("flows", "table.flows td")
	x.until(`document.querySelectorAll(".flows tbody tr").length === 1`)
	out, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	if _, err := out.WriteString(lines[2] + lines[3]); err != nil {
		t.Fatal(err)
	}
	x.until(`document.querySelectorAll(".flows tbody tr").length === 3`)
}

const closesCatalog = `apiVersion: tierwall.io/v1alpha1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  tier: security
  order: 1
  selector: app == 'catalog'
  types: [Ingress]
  ingress:
  - action: Deny
`

// typed has the page notice what was set.
const typed = `document.querySelector("textarea").dispatchEvent(new Event("input", {bubbles: true}))`

// TestWhatIf pastes a policy and sees what would be denied; the address keeps the policy.
func TestWhatIf(t *testing.T) {
	x := open(t, serve(t, samples...))
	x.view("whatif", "textarea")
	x.run(chromedp.SetValue(chromedp.CSS("textarea"), closesCatalog))
	eval[bool](x, typed)
	x.run(chromedp.WaitEnabled(chromedp.CSS("form.whatif button.primary")), chromedp.Click(chromedp.CSS("form.whatif button.primary")), chromedp.WaitVisible(chromedp.CSS(".totals")))
	text := eval[string](x, `document.querySelector("main").textContent`)
	for _, want := range []string{"flows seen would be denied", "shop/frontend", "shop/catalog", "Lost: allowed now, denied after"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	x.until(`location.hash.includes("yaml=")`)
	x.run(chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS(".totals")))
	if got := eval[string](x, `document.querySelector("textarea").value`); got != closesCatalog {
		t.Errorf("after a reload: %s", got)
	}
	x.run(chromedp.SetValue(chromedp.CSS("textarea"), "kind: Nonsense\n"))
	eval[bool](x, typed)
	x.run(chromedp.Click(chromedp.CSS("form.whatif button.primary")), chromedp.WaitVisible(chromedp.CSS(".notice.error")))
}

// TestLocked: without the key there is nothing to see.
func TestLocked(t *testing.T) {
	address := serve(t, samples...)
	base, _, _ := strings.Cut(address, "#")
	x := open(t, base+"#key=wrong")
	x.until(`document.querySelector(".locked") !== null`)
	if text := eval[string](x, `document.body.textContent`); strings.Contains(text, "config/samples") {
		t.Error(text)
	}
}

// TestThemeButton: what is chosen counts over what the system prefers.
func TestThemeButton(t *testing.T) {
	x := open(t, serve(t, samples...))
	const background = `getComputedStyle(document.documentElement).backgroundColor`
	x.scheme("light")
	lit := eval[string](x, background)
	x.run(chromedp.Click(chromedp.CSS(`.tools button:nth-child(2)`)))
	x.until(`document.documentElement.dataset.theme === "dark"`)
	if dark := eval[string](x, background); dark == lit {
		t.Errorf("dark is %s too", dark)
	}
}
