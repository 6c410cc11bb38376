package operator

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestContains(t *testing.T) {
	tests := []struct {
		name, live, want string
		contained        bool
	}{
		{"equal", `{"a":1,"b":[{"c":"x"}]}`, `{"a":1,"b":[{"c":"x"}]}`, true},
		{"what the server fills in", `{"a":1,"b":[{"c":"x","d":true}],"e":{}}`, `{"a":1,"b":[{"c":"x"}]}`, true},
		{"a number of another kind", `{"a":1.0}`, `{"a":1}`, true},
		{"another value", `{"a":2}`, `{"a":1}`, false},
		{"another type", `{"a":"1"}`, `{"a":1}`, false},
		{"missing", `{}`, `{"a":1}`, false},
		{"an element more", `{"a":[1,2]}`, `{"a":[1]}`, false},
		{"an element less", `{"a":[]}`, `{"a":[1]}`, false},
		{"another order", `{"a":[2,1]}`, `{"a":[1,2]}`, false},
		{"a list for an object", `{"a":[]}`, `{"a":{"b":1}}`, false},
		{"an object for a list", `{"a":{}}`, `{"a":[1]}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var live, want any
			for text, v := range map[string]*any{tt.live: &live, tt.want: &want} {
				if err := json.Unmarshal([]byte(text), v); err != nil {
					t.Fatal(err)
				}
			}
			if tt.live == tt.want {
				want = live
			}
			if got := contains(live, want); got != tt.contained {
				t.Errorf("got %t", got)
			}
		})
	}
	if !contains(map[string]any{"a": int64(3)}, map[string]any{"a": float64(3)}) || !contains(map[string]any{"a": int32(3)}, map[string]any{"a": 3}) {
		t.Error("a number decoded in another way is another number")
	}
}

func managed(manager string, op metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: op, APIVersion: "apps/v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func TestTakeOver(t *testing.T) {
	const apply, edit = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	own := managed(FieldOwner, apply, `{"f:spec":{"f:selector":{}}}`)
	status := managed("kube-controller-manager", edit, `{"f:spec":{"f:x":{}},"f:status":{"f:numberReady":{}}}`)
	status.Subresource = "status"
	older := managed("old", edit, `{"f:spec":{"f:x":{}}}`)
	older.APIVersion = "apps/v1beta1"
	tests := []struct {
		name    string
		entries []metav1.ManagedFieldsEntry
		taken   bool
		mine    string // our entry afterwards
		theirs  string // the first entry's, if it is not ours
	}{
		{"nobody else", []metav1.ManagedFieldsEntry{own}, false, `{"f:spec":{"f:selector":{}}}`, ""},
		{"none at all", nil, false, "", ""},
		{"labels and annotations are anybody's", []metav1.ManagedFieldsEntry{managed("kubectl", edit, `{"f:metadata":{"f:labels":{"f:a":{}}}}`), own}, false, `{"f:spec":{"f:selector":{}}}`, `{"f:metadata":{"f:labels":{"f:a":{}}}}`},
		{"so is the template's metadata", []metav1.ManagedFieldsEntry{managed("kubectl", edit, `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{"f:a":{}}}}}}`), own}, false, `{"f:spec":{"f:selector":{}}}`, `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{"f:a":{}}}}}}`},
		{"status", []metav1.ManagedFieldsEntry{status, own}, false, `{"f:spec":{"f:selector":{}}}`, `{"f:spec":{"f:x":{}},"f:status":{"f:numberReady":{}}}`},
		{"another version", []metav1.ManagedFieldsEntry{older, own}, false, `{"f:spec":{"f:selector":{}}}`, `{"f:spec":{"f:x":{}}}`},
		{"one who agrees", []metav1.ManagedFieldsEntry{managed("kubectl", apply, `{"f:spec":{"f:selector":{}}}`), own}, false, `{"f:spec":{"f:selector":{}}}`, `{"f:spec":{"f:selector":{}}}`},
		{"an edit", []metav1.ManagedFieldsEntry{managed("kubectl", edit, `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:x":{}}}`), own}, true, `{"f:spec":{"f:selector":{},"f:x":{}}}`, `{"f:metadata":{"f:labels":{"f:a":{}}}}`},
		{"applied by somebody else", []metav1.ManagedFieldsEntry{managed("gitops", apply, `{"f:spec":{"f:selector":{},"f:x":{}}}`), own}, true, `{"f:spec":{"f:selector":{},"f:x":{}}}`, `{}`},
		{"nothing of ours yet", []metav1.ManagedFieldsEntry{managed("kubectl", edit, `{"f:spec":{"f:x":{}}}`)}, true, `{"f:spec":{"f:x":{}}}`, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			u.SetAPIVersion("apps/v1")
			u.SetKind("DaemonSet")
			u.SetManagedFields(tt.entries)
			got, taken, err := takeOver(u)
			if err != nil || taken != tt.taken {
				t.Fatalf("taken %t, error %v", taken, err)
			}
			var mine string
			for i, e := range got {
				if e.Manager == FieldOwner {
					mine = e.FieldsV1.GetRawString()
				} else if text := e.FieldsV1.GetRawString(); i == 0 && text != tt.theirs {
					t.Errorf("theirs: %s, want %s", text, tt.theirs)
				}
			}
			if mine != tt.mine {
				t.Errorf("ours: %s, want %s", mine, tt.mine)
			}
		})
	}
	broken := &unstructured.Unstructured{}
	broken.SetAPIVersion("apps/v1")
	broken.SetKind("DaemonSet")
	broken.SetManagedFields([]metav1.ManagedFieldsEntry{managed("x", edit, `{"k:{":{}}`)})
	if _, _, err := takeOver(broken); err == nil {
		t.Error("fields that cannot be read are no error")
	}
}
