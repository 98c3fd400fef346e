// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// A transaction producer and what it was asked. Each message says itself how its local transaction ends (user property `local`)
// and what the check-back is told, the first time, the second time and so on (`check`, words divided by blanks, the last one
// for good): commit, rollback, unknown.
type transactionHandle struct {
	client rocketmq.TransactionProducer
	mutex  sync.Mutex
	checks []interface{}
	asked  map[string]int
}

func (t *transactionHandle) close() error { return t.client.Shutdown() }

func (t *transactionHandle) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return decide(m.GetProperty("local"))
}

func (t *transactionHandle) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	words := strings.Split(m.GetProperty("check"), " ")
	t.mutex.Lock()
	defer t.mutex.Unlock()
	times := t.asked[m.TransactionId]
	t.asked[m.TransactionId] = times + 1
	word := words[min(times, len(words)-1)]
	one := got(m)
	one["transactionId"], one["decided"] = m.TransactionId, word
	t.checks = append(t.checks, one)
	return decide(word)
}

var decisions = map[string]primitive.LocalTransactionState{
	"commit": primitive.CommitMessageState, "rollback": primitive.RollbackMessageState, "unknown": primitive.UnknowState,
}

func decide(word string) primitive.LocalTransactionState {
	state, known := decisions[word]
	if !known {
		fmt.Fprintln(os.Stderr, "no decision", word)
		return primitive.UnknowState
	}
	return state
}

func registerTransactions() {
	ops["transaction_producer"] = func(a args) (interface{}, error) {
		t := &transactionHandle{asked: map[string]int{}}
		client, err := rocketmq.NewTransactionProducer(t, producerOptions(a)...)
		if err != nil {
			return nil, err
		}
		t.client = client
		if err := client.Start(); err != nil {
			return nil, err
		}
		handles.Store(a.text("as"), t)
		return nil, nil
	}
	ops["checks"] = func(a args) (interface{}, error) {
		t := named[*transactionHandle](a)
		t.mutex.Lock()
		defer t.mutex.Unlock()
		return append([]interface{}{}, t.checks...), nil
	}
	// This client never unregisters: its shutdown ends the connections without a word, as a killed process does.
	ops["kill"] = func(a args) (interface{}, error) {
		t := named[*transactionHandle](a)
		handles.Delete(a.text("by"))
		return nil, t.close()
	}
}

func sendTransactions(a args) (interface{}, error) {
	t := named[*transactionHandle](a)
	states := map[primitive.LocalTransactionState]string{
		primitive.CommitMessageState: "COMMIT_MESSAGE", primitive.RollbackMessageState: "ROLLBACK_MESSAGE", primitive.UnknowState: "UNKNOW",
	}
	results := []interface{}{}
	for _, one := range a.list("messages") {
		r, err := t.client.SendMessageInTransaction(context.Background(), toSend(args(one.(map[string]interface{}))))
		if err != nil {
			results = append(results, sent(nil, err))
			continue
		}
		out := sent(r.SendResult, nil)
		out["transactionId"], out["local"] = r.TransactionID, states[r.State]
		results = append(results, out)
	}
	return results, nil
}
