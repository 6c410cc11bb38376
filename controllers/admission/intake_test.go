package admission

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestIntake: large requests wait for each other, and small ones do not wait for them.
func TestIntake(t *testing.T) {
	begun, goOn := make(chan int64, 100), make(chan struct{})
	i := newIntake(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- r.ContentLength
		if r.ContentLength != 0 {
			<-goOn
		}
	}))
	i.patience = time.Minute
	answers := make(chan int, 100)
	send := func(size int64, body io.Reader) {
		r := httptest.NewRequest(http.MethodPost, Path, body)
		r.ContentLength = size
		w := httptest.NewRecorder()
		i.ServeHTTP(w, r)
		answers <- w.Code
	}
	go send(largeRoom, strings.NewReader(""))
	<-begun
	for _, size := range []int64{-1, largeRoom + 1, smallRequest + 1} {
		go send(size, strings.NewReader(""))
	}
	send(0, http.NoBody) // with all room for large ones taken
	if size := <-begun; size != 0 {
		t.Fatalf("a request of %d bytes had no room and began", size)
	}
	close(goOn)
	for range 5 {
		if code := <-answers; code != http.StatusOK {
			t.Errorf("answered with status %d", code)
		}
	}
	if n := len(begun); n != 3 {
		t.Errorf("%d requests began afterwards, want 3", n)
	}
}

// TestIntakeIsNotWaitedForLong: a request without room is refused, and takes none.
func TestIntakeIsNotWaitedForLong(t *testing.T) {
	i := newIntake(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request had no room and began") }))
	i.patience = 0
	if !i.large.TryAcquire(largeRoom) {
		t.Fatal("there is less room than there should be")
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, Path, http.NoBody)
	r.ContentLength = smallRequest + 1
	i.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered with status %d", w.Code)
	}
	i.large.Release(largeRoom)
	if !i.large.TryAcquire(largeRoom) {
		t.Error("the room of the request that was refused is gone")
	}
}
