package ui

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestKeyboard goes through the page without a mouse.
func TestKeyboard(t *testing.T) {
	x := open(t, serve(t, samples...))
	for key, want := range map[string]string{"1": "Board", "2": "Map", "3": "Flows", "4": "Why", "5": "What if"} {
		x.run(chromedp.KeyEvent(key))
		x.until(fmt.Sprintf(`document.querySelector("main h1")?.textContent === %q && document.title.startsWith(%[1]q)`, want))
	}
	x.run(chromedp.KeyEvent("?"))
	x.until(`document.querySelector("dialog[open]") !== null`)
	x.run(chromedp.KeyEvent(kb.Escape))
	x.until(`document.querySelector("dialog") === null`)

	x.view("board", ".card")
	x.run(chromedp.KeyEvent("/"))
	x.until(`document.activeElement.matches("main .filter")`)
	eval[bool](x, `document.activeElement.select() ?? true`) // chromedp types what the page has taken for a key
	x.run(chromedp.KeyEvent("quarantine"))
	x.until(`document.querySelectorAll(".card").length === 1 && location.hash.includes("q=quarantine")`)
	x.view("board?", ".column:nth-child(2) .card")
	x.focus(".card > button")
	x.run(chromedp.KeyEvent(kb.ArrowDown))
	x.until(`document.activeElement.textContent.includes("block-known-bad")`)
	if eval[string](x, `getComputedStyle(document.activeElement).outlineStyle`) == "none" {
		t.Error("the focus is not visible")
	}
	x.run(chromedp.KeyEvent(kb.ArrowRight))
	x.until(`document.activeElement.closest(".column").getAttribute("aria-label") === "Tier platform"`)
	x.run(chromedp.KeyEvent(kb.Enter))
	x.until(`document.activeElement.getAttribute("aria-expanded") === "true" && document.querySelector(".card .rules") !== null`)

	x.view("map", ".graph svg")
	x.focus(`.graph .item[aria-label="frontend in shop"]`)
	x.run(chromedp.KeyEvent(kb.Enter))
	x.there(".panel")
	x.run(chromedp.KeyEvent(kb.ArrowUp))
	x.until(`document.activeElement.getAttribute("aria-label") === "checkout in shop"`)
	x.run(chromedp.KeyEvent(kb.Escape))
	x.until(`document.querySelector(".panel") === null`)

	x.view("flows", "table.flows td button")
	x.focus("table.flows td button")
	x.run(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowRight))
	x.until(`document.activeElement.closest("tr") === document.querySelectorAll(".flows tbody tr")[1] && document.activeElement.closest("td").cellIndex === 2`)
	x.run(chromedp.KeyEvent(kb.Enter))
	x.until(`location.hash.includes("to=")`)
}

// TestTabReachesAll: every control of a view is in the order of Tab, or among those that
// arrows reach from one that is, and each has a name.
func TestTabReachesAll(t *testing.T) {
	x := open(t, serve(t, samples...))
	for _, v := range views {
		x.view(v.fragment, v.wait)
		for _, fault := range eval[[]string](x, `[...document.querySelectorAll("button, a, input, textarea, [role=button]")].filter((e) => {
			const name = e.getAttribute("aria-label") ?? (e.textContent.trim() || e.labels?.[0]?.textContent || "");
			return !name || (e.tabIndex < 0 && !e.closest("td"));
		}).map((e) => e.outerHTML.slice(0, 120))`) {
			t.Errorf("%s: without a name, or not reached: %s", v.name, fault)
		}
	}
}
