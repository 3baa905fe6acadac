package operator

import (
	"context"
	"reflect"
	"slices"

	"github.com/skep-gitops/skep/alerting"
)

// teller keeps one set of Alertmanagers told.
type teller struct {
	options alerting.Options
	client  notifier
	stop    context.CancelFunc
	done    chan struct{}
}

// startTelling starts the alerting client, or another one where the Alertmanagers
// changed. The former one is gone before the next begins.
func (l *loop) startTelling(ctx context.Context) error {
	if l.once != nil {
		return nil
	}
	old := l.tellers
	if old != nil && reflect.DeepEqual(old.options, l.config.Alerts) {
		return nil
	}
	client, err := l.o.notify(l.config.Alerts)
	if err != nil {
		return err
	}
	tctx, stop := context.WithCancel(ctx)
	t := &teller{options: l.config.Alerts, client: client, stop: stop, done: make(chan struct{})}
	l.wg.Go(func() {
		defer stop()
		defer close(t.done)
		if old != nil {
			old.stop()
			<-old.done
		}
		if err := client.Run(tctx); err != nil && tctx.Err() == nil {
			l.o.log.Error("alerts cannot be sent any more", "err", err)
		}
	})
	l.tellers = t
	l.o.peers.Store(&peerList{client})
	if l.alerts != nil {
		client.Set(l.alerts.firing(l.config))
	}
	return nil
}

// set tells what fires, and that what an earlier life told has ended. A nil teller
// tells nobody.
func (t *teller) set(firing, ended []alerting.Alert) {
	if t == nil {
		return
	}
	if len(ended) > 0 {
		t.client.Set(slices.Concat(firing, ended)) // only what fired can end
	}
	t.client.Set(firing)
}

// peerList is where Status reads the peers from.
type peerList struct{ client notifier }
