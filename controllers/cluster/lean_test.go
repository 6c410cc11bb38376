package cluster

import (
	"cmp"
	"encoding/json"
	"testing"
)

func TestStripCustom(t *testing.T) {
	for _, tt := range []struct {
		name, kind, in, want string
	}{
		{
			name: "what Auto means for guards is read, and nothing else of a status",
			in:   `{"kind":"Tierwall","metadata":{"name":"default","resourceVersion":"7"},"spec":{},"status":{"guards":"Count","observedGeneration":3,"conditions":[{"type":"Available"}]}}`,
			want: `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{},"status":{"guards":"Count"}}`,
		},
		{
			name: "so is what it means for NetworkSets of namespaces",
			in:   `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{},"status":{"namespacedSets":"Everywhere","guards":"Count","silentNodes":3}}`,
			want: `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{},"status":{"guards":"Count","namespacedSets":"Everywhere"}}`,
		},
		{
			name: "before it is decided",
			in:   `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{},"status":{"observedGeneration":3}}`,
			want: `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{}}`,
		},
		{
			name: "no status",
			in:   `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{}}`,
			want: `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{}}`,
		},
		{
			name: "a status that is none",
			in:   `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{},"status":"guards"}`,
			want: `{"kind":"Tierwall","metadata":{"name":"default"},"spec":{}}`,
		},
		{
			name: "another kind", kind: "Tier",
			in:   `{"kind":"Tier","metadata":{"name":"t","managedFields":[]},"spec":{},"status":{"guards":"Count"}}`,
			want: `{"kind":"Tier","metadata":{"name":"t"},"spec":{}}`,
		},
	} {
		var fields map[string]any
		must(t, json.Unmarshal([]byte(tt.in), &fields))
		stripCustom(fields, kindNamed(t, cmp.Or(tt.kind, "Tierwall")))
		got, err := json.Marshal(fields)
		must(t, err)
		if string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
