package tiers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

var _ = Describe("built-in tiers", func() {
	merge := func(patch string) client.Patch {
		return client.RawPatch("application/merge-patch+json", []byte(patch))
	}
	for _, tier := range builtIn() {
		name := tier.Name
		It(name+" cannot be deleted, not even by the cluster's administrator", func() {
			o := &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}}
			for _, user := range []string{"root", "root2"} {
				c := as(user, map[string][]string{"root": {"system:masters"}}[user]...)
				Expect(c.Delete(ctx(), o)).To(MatchError(ContainSubstring("the built-in tier %s cannot be deleted", name)))
			}
			Expect(admin.DeleteAllOf(ctx(), &v1alpha1.Tier{}, client.MatchingFields{"metadata.name": name})).
				To(MatchError(ContainSubstring("the built-in tier %s cannot be deleted", name)))
		})
		It(name+" keeps its order and its default action", func() {
			o := &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}}
			other := "Deny"
			if *tier.Spec.DefaultAction == v1alpha1.Deny {
				other = "Pass"
			}
			for _, patch := range []string{`{"spec":{"order":5}}`, `{"spec":{"order":null}}`, `{"spec":{"defaultAction":"` + other + `"}}`} {
				Expect(admin.Patch(ctx(), o, merge(patch))).To(MatchError(ContainSubstring("cannot be changed")), patch)
			}
		})
		It(name+" takes labels", func() {
			o := &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}}
			Expect(admin.Patch(ctx(), o, merge(`{"metadata":{"labels":{"a":"b"}}}`))).To(Succeed())
		})
	}

	It("leave other tiers alone", func() {
		o := made(&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "defaults"}})
		Expect(admin.Patch(ctx(), o, merge(`{"spec":{"order":5,"defaultAction":"Pass"}}`))).To(Succeed())
		Expect(admin.Delete(ctx(), o)).To(Succeed())
	})
})
