// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// Answers each message with `re: ` and its body, except those whose body is `silence`.
type responderHandle struct {
	consumer rocketmq.PushConsumer
	producer rocketmq.Producer
}

func (r *responderHandle) close() error {
	if err := r.consumer.Shutdown(); err != nil {
		return err
	}
	return r.producer.Shutdown()
}

func registerRequests() {
	ops["responder"] = startResponder
	ops["request"] = request
}

func startResponder(a args) (interface{}, error) {
	r := &responderHandle{}
	var err error
	r.producer, err = rocketmq.NewProducer(
		producer.WithNameServer(primitive.NamesrvAddr{a.text("namesrv")}),
		producer.WithGroupName(a.text("group")+"-replies"),
		producer.WithInstanceName(a.text("as")),
	)
	if err != nil {
		return nil, err
	}
	r.consumer, err = rocketmq.NewPushConsumer(
		consumer.WithNameServer(primitive.NamesrvAddr{a.text("namesrv")}),
		consumer.WithGroupName(a.text("group")),
		consumer.WithInstance(a.text("as")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return nil, err
	}
	take := func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			if string(m.Body) == "silence" {
				continue
			}
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err == nil {
				// The client's own function forgets it.
				reply.Body = []byte("re: " + string(m.Body))
				_, err = r.producer.SendSync(ctx, reply)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "no reply:", err)
				return consumer.ConsumeRetryLater, nil
			}
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := r.consumer.Subscribe(a.text("topic"), consumer.MessageSelector{}, take); err != nil {
		return nil, err
	}
	if err := r.producer.Start(); err != nil {
		return nil, err
	}
	if err := r.consumer.Start(); err != nil {
		return nil, err
	}
	handles.Store(a.text("as"), r)
	return nil, nil
}

// The replies in the order of the questions; `error` where none came in time.
func request(a args) (interface{}, error) {
	p := named[*producerHandle](a).client
	timeout := time.Duration(a.number("timeout", 10_000)) * time.Millisecond
	replies := []interface{}{}
	for _, one := range a.list("messages") {
		question := toSend(args(one.(map[string]interface{})))
		reply, err := ask(p, question, timeout, a.textOr("mode", "sync") == "async")
		if err != nil {
			replies = append(replies, map[string]interface{}{"error": describe(err)})
			continue
		}
		replies = append(replies, map[string]interface{}{"body": string(reply.Body), "topic": reply.Topic, "props": reply.GetProperties()})
	}
	return replies, nil
}

type answered struct {
	reply *primitive.Message
	err   error
}

func ask(p rocketmq.Producer, question *primitive.Message, timeout time.Duration, async bool) (*primitive.Message, error) {
	if !async {
		return p.Request(context.Background(), timeout, question)
	}
	done := make(chan answered, 1)
	err := p.RequestAsync(context.Background(), timeout, func(_ context.Context, reply *primitive.Message, err error) {
		done <- answered{reply, err}
	}, question)
	if err != nil {
		return nil, err
	}
	one := <-done
	return one.reply, one.err
}
