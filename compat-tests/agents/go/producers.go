// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

type producerHandle struct {
	client  rocketmq.Producer
	namesrv string
}

func (p *producerHandle) close() error { return p.client.Shutdown() }

func (p *producerHandle) nameServer() string { return p.namesrv }

// Queue if the message names one, by sharding key if it has one, otherwise in turn: one producer serves all ways to send.
type selector struct {
	byHash, inTurn producer.QueueSelector
}

func (s selector) Select(m *primitive.Message, queues []*primitive.MessageQueue, last string) *primitive.MessageQueue {
	if m.Queue != nil {
		for _, queue := range queues {
			if queue.QueueId == m.Queue.QueueId {
				return queue
			}
		}
		return m.Queue
	}
	if m.GetShardingKey() != "" {
		return s.byHash.Select(m, queues, last)
	}
	return s.inTurn.Select(m, queues, last)
}

func registerProducers() {
	ops["producer"] = func(a args) (interface{}, error) {
		p, err := rocketmq.NewProducer(producerOptions(a)...)
		if err != nil {
			return nil, err
		}
		if err := p.Start(); err != nil {
			return nil, err
		}
		handles.Store(a.text("as"), &producerHandle{p, a.text("namesrv")})
		return nil, nil
	}
	ops["send"] = send
	ops["create_topic"] = func(a args) (interface{}, error) {
		return nil, withAdmin(a.text("namesrv"), func(client admin.Admin) error {
			queues := int(a.number("queues", 4))
			return client.CreateTopic(context.Background(), admin.WithTopicCreate(a.text("topic")), admin.WithBrokerAddrCreate(a.text("broker_addr")),
				admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
		})
	}
	ops["remove_topic"] = func(a args) (interface{}, error) {
		return nil, withAdmin(a.text("namesrv"), func(client admin.Admin) error {
			return client.DeleteTopic(context.Background(), admin.WithTopicDelete(a.text("topic")), admin.WithBrokerAddrDelete(a.text("broker_addr")))
		})
	}
	ops["topic_list"] = func(a args) (interface{}, error) {
		var topics []string
		err := withAdmin(a.text("namesrv"), func(client admin.Admin) error {
			list, err := client.FetchAllTopicList(context.Background())
			if err == nil {
				topics = list.TopicList
			}
			return err
		})
		return topics, err
	}
	ops["queues"] = func(a args) (interface{}, error) {
		var out []interface{}
		err := withAdmin(a.text("namesrv"), func(client admin.Admin) error {
			queues, err := client.FetchPublishMessageQueues(context.Background(), a.text("topic"))
			out = queueList(queues)
			return err
		})
		return out, err
	}
}

func producerOptions(a args) []producer.Option {
	options := []producer.Option{
		producer.WithNameServer(primitive.NamesrvAddr{a.text("namesrv")}),
		producer.WithGroupName(a.text("group")),
		producer.WithInstanceName(a.text("as")),
		producer.WithQueueSelector(selector{producer.NewHashQueueSelector(), producer.NewRoundRobinQueueSelector()}),
		producer.WithRetry(int(a.number("retries", 2))),
	}
	if a.has("queues") {
		options = append(options, producer.WithDefaultTopicQueueNums(int(a.number("queues", 4))))
	}
	if a.has("compress_over") {
		options = append(options, producer.WithCompressMsgBodyOverHowmuch(int(a.number("compress_over", 4096))))
	}
	return options
}

func withAdmin(namesrv string, use func(admin.Admin) error) error {
	client, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{namesrv})))
	if err != nil {
		return err
	}
	defer client.Close()
	return use(client)
}

func queueList(queues []*primitive.MessageQueue) []interface{} {
	out := []interface{}{}
	for _, queue := range queues {
		out = append(out, map[string]interface{}{"topic": queue.Topic, "broker": queue.BrokerName, "queue": queue.QueueId})
	}
	return out
}

func toSend(a args) *primitive.Message {
	body := []byte(a.textOr("body", ""))
	if a.has("size") {
		padded := make([]byte, a.number("size", 0))
		if a.flag("random") {
			rand.New(rand.NewSource(int64(len(padded)))).Read(padded)
		} else {
			for i := range padded {
				padded[i] = '.'
			}
		}
		copy(padded, body)
		body = padded
	}
	m := primitive.NewMessage(a.text("topic"), body)
	if a.has("tags") {
		m.WithTag(a.text("tags"))
	}
	if a.has("keys") {
		m.WithProperty(primitive.PropertyKeys, a.text("keys"))
	}
	if a.has("delay") {
		m.WithDelayTimeLevel(int(a.number("delay", 0)))
	}
	if a.has("shard") {
		m.WithShardingKey(a.text("shard"))
	}
	if a.has("queue") {
		m.Queue = &primitive.MessageQueue{Topic: m.Topic, QueueId: int(a.number("queue", 0))}
	}
	m.Flag = int32(a.number("flag", 0))
	for key, value := range a.object("props") {
		m.WithProperty(key, fmt.Sprint(value))
	}
	return m
}

func sent(r *primitive.SendResult, err error) map[string]interface{} {
	if err != nil {
		return map[string]interface{}{"error": describe(err)}
	}
	statuses := map[primitive.SendStatus]string{
		primitive.SendOK: "SEND_OK", primitive.SendFlushDiskTimeout: "FLUSH_DISK_TIMEOUT",
		primitive.SendFlushSlaveTimeout: "FLUSH_SLAVE_TIMEOUT", primitive.SendSlaveNotAvailable: "SLAVE_NOT_AVAILABLE",
	}
	out := map[string]interface{}{"status": statuses[r.Status], "msgId": r.MsgID, "offsetMsgId": r.OffsetMsgID, "offset": r.QueueOffset}
	if r.MessageQueue != nil {
		out["topic"], out["broker"], out["queue"] = r.MessageQueue.Topic, r.MessageQueue.BrokerName, r.MessageQueue.QueueId
	}
	return out
}

func send(a args) (interface{}, error) {
	if a.textOr("mode", "sync") == "transaction" {
		return sendTransactions(a)
	}
	p := named[*producerHandle](a).client
	ctx := context.Background()
	messages := []*primitive.Message{}
	for _, one := range a.list("messages") {
		messages = append(messages, toSend(args(one.(map[string]interface{}))))
	}
	results := make([]interface{}, len(messages))
	switch a.textOr("mode", "sync") {
	case "sync":
		for i, m := range messages {
			results[i] = sent(p.SendSync(ctx, m))
		}
		return results, nil
	case "batch":
		return []interface{}{sent(p.SendSync(ctx, messages...))}, nil
	case "oneway":
		for _, m := range messages {
			if err := p.SendOneWay(ctx, m); err != nil {
				return nil, err
			}
		}
		return []interface{}{}, nil
	case "async":
		var left sync.WaitGroup
		for i, m := range messages {
			left.Add(1)
			index := i
			var once sync.Once
			err := p.SendAsync(ctx, func(_ context.Context, r *primitive.SendResult, err error) {
				once.Do(func() {
					results[index] = sent(r, err)
					left.Done()
				})
			}, m)
			if err != nil {
				once.Do(func() {
					results[index] = sent(nil, err)
					left.Done()
				})
			}
		}
		done := make(chan struct{})
		go func() { left.Wait(); close(done) }()
		select {
		case <-done:
			return results, nil
		case <-time.After(60 * time.Second):
			return nil, fmt.Errorf("some callbacks never came")
		}
	}
	return nil, fmt.Errorf("unknown mode %s", a.text("mode"))
}
