package flows

import "encoding/json"

// write writes the records of a window as JSON lines.
func (r *Recorder) write(w *window) {
	if r.opts.Lines == nil {
		return
	}
	to := json.NewEncoder(r.opts.Lines)
	for _, rec := range w.records(r.opts.Node) {
		if err := to.Encode(&rec); err != nil {
			r.log.Warn("records are not written", "error", err)
			return
		}
	}
}
