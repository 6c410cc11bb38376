package nearest

import (
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestWord(t *testing.T) {
	known := []string{"ports", "protocol", "notPorts", "selector", "source"}
	for word, want := range map[string]string{
		"protokol": "protocol", "PORTS": "ports", "port": "ports", "slector": "selector", "sourec": "source",
		"notports": "notPorts", "x": "", "": "", "banana": "", strings.Repeat("p", 1000): "",
	} {
		if got := closest(word, known); got != want {
			t.Errorf("Word(%.20q) = %q, want %q", word, got, want)
		}
	}
}

func TestRef(t *testing.T) {
	pod := func(ns, name string) model.Ref { return model.Ref{Kind: model.KindPod, Namespace: ns, Name: name} }
	known := []model.Ref{{Kind: model.KindHostEndpoint, Name: "frontend"}, pod("shop", "frontend"), pod("shop", "cart")}
	for unknown, want := range map[model.Ref]model.Ref{
		pod("shop", "frontnd"):  pod("shop", "frontend"),
		pod("pay", "cart"):      pod("shop", "cart"),
		pod("pay", "frontnd"):   {},
		pod("shop", "database"): {},
	} {
		got, ok := Ref(unknown, known)
		if ok != (want != model.Ref{}) || ok && got != want {
			t.Errorf("%s: got %s, %v, want %s", unknown, got, ok, want)
		}
	}
}
