package admission

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	webhook "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/tierwall/tierwall/policy/model"
)

const (
	// maxListed is how many problems an answer lists.
	maxListed = 10
	// maxText is how many bytes of one problem an answer gives. An API server cuts
	// longer warnings.
	maxText = 250
)

// refuse is the answer to an invalid object: in its message and, for programs, as
// a list of fields in its details.
func refuse(kind metav1.GroupVersionKind, name string, errs, warnings []model.Problem) webhook.Response {
	status := &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: strings.Join(list(errs), "; "),
		Details: &metav1.StatusDetails{Group: kind.Group, Kind: kind.Kind, Name: name},
	}
	for _, p := range errs[:min(len(errs), maxListed)] {
		status.Details.Causes = append(status.Details.Causes, metav1.StatusCause{
			Type: metav1.CauseTypeFieldValueInvalid, Field: p.Field, Message: line(p.Message),
		})
	}
	return webhook.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: status, Warnings: warn(warnings)}}
}

// warn are the warnings of an answer, each once.
func warn(problems []model.Problem) []string {
	lines := list(problems)
	slices.Sort(lines)
	return slices.Compact(lines)
}

// list is "field: message" for each problem, the surplus as a number.
func list(problems []model.Problem) []string {
	var out []string
	for _, p := range problems[:min(len(problems), maxListed)] {
		text := p.Message
		if p.Field != "" {
			text = p.Field + ": " + text
		}
		out = append(out, line(text))
	}
	if more := len(problems) - maxListed; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out
}

// line keeps a text to one line of bounded length, and to what can be printed.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
