// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// Longer bodies are told by their beginning, size and checksum.
const bodyShown = 64

// Anything that can say which messages came to it.
type receiver interface {
	handle
	received() ([]interface{}, error)
}

type pushHandle struct {
	client   rocketmq.PushConsumer
	failing  args
	slow     time.Duration
	mutex    sync.Mutex
	list     []interface{}
	busy     map[string]int
	assigned map[string][]*primitive.MessageQueue
}

func (p *pushHandle) close() error { return p.client.Shutdown() }

func (p *pushHandle) received() ([]interface{}, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return append([]interface{}{}, p.list...), nil
}

type pullHandle struct {
	client rocketmq.PullConsumer
	mutex  sync.Mutex
	list   []interface{}
}

func (p *pullHandle) close() error { return p.client.Shutdown() }

// Polls until nothing more is at hand, then tells everything that ever came.
func (p *pullHandle) received() ([]interface{}, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for {
		request, err := p.client.Poll(context.Background(), 300*time.Millisecond)
		if consumer.IsNoNewMsgError(err) {
			return append([]interface{}{}, p.list...), nil
		}
		if err != nil {
			return nil, err
		}
		for _, m := range request.GetMsgList() {
			one := got(m)
			one["taken"], one["overlap"] = true, false
			p.list = append(p.list, one)
		}
		p.client.ACK(context.Background(), request, consumer.ConsumeSuccess)
	}
}

func registerConsumers() {
	ops["push"] = startPush
	ops["pull_consumer"] = startPull
	ops["received"] = func(a args) (interface{}, error) { return named[receiver](a).received() }
	ops["assigned"] = func(a args) (interface{}, error) {
		p := named[*pushHandle](a)
		p.mutex.Lock()
		defer p.mutex.Unlock()
		return queueList(p.assigned[a.text("topic")]), nil
	}
	ops["suspend"] = func(a args) (interface{}, error) { named[*pushHandle](a).client.Suspend(); return nil, nil }
	ops["resume"] = func(a args) (interface{}, error) { named[*pushHandle](a).client.Resume(); return nil, nil }
	ops["pull"] = pull
	ops["update_offset"] = func(a args) (interface{}, error) {
		return nil, named[*pullHandle](a).client.UpdateOffset(queueOf(a), a.number("offset", 0))
	}
	ops["persist_offset"] = func(a args) (interface{}, error) {
		return nil, named[*pullHandle](a).client.PersistOffset(context.Background(), a.text("topic"))
	}
	ops["fetch_offset"] = func(a args) (interface{}, error) { return named[*pullHandle](a).client.CurrentOffset(queueOf(a)) }
}

func got(m *primitive.MessageExt) map[string]interface{} {
	shown := m.Body
	if len(shown) > bodyShown {
		shown = shown[:bodyShown]
	}
	out := map[string]interface{}{
		"topic": m.Topic, "offset": m.QueueOffset, "body": string(shown), "size": len(m.Body), "crc": crc32.ChecksumIEEE(m.Body),
		"msgId": m.MsgId, "offsetMsgId": m.OffsetMsgId, "reconsume": m.ReconsumeTimes, "sysFlag": m.SysFlag, "flag": m.Flag,
		"born": m.BornTimestamp, "stored": m.StoreTimestamp, "at": time.Now().UnixMilli(), "physical": m.CommitLogOffset, "props": m.GetProperties(),
	}
	if m.Queue != nil {
		out["queue"] = m.Queue.QueueId
	}
	if m.GetTags() != "" {
		out["tags"] = m.GetTags()
	}
	if m.GetKeys() != "" {
		out["keys"] = m.GetKeys()
	}
	return out
}

func fromWhere(a args) consumer.ConsumeFromWhere {
	switch a.textOr("from", "first") {
	case "last":
		return consumer.ConsumeFromLastOffset
	case "timestamp":
		return consumer.ConsumeFromTimestamp
	}
	return consumer.ConsumeFromFirstOffset
}

func startPush(a args) (interface{}, error) {
	p := &pushHandle{failing: a.object("fail"), slow: time.Duration(a.number("slow", 0)) * time.Millisecond, busy: map[string]int{}, assigned: map[string][]*primitive.MessageQueue{}}
	strategy, err := strategyOf(a)
	if err != nil {
		return nil, err
	}
	orderly := a.flag("orderly")
	options := []consumer.Option{
		consumer.WithNameServer(primitive.NamesrvAddr{a.text("namesrv")}),
		consumer.WithGroupName(a.text("group")),
		consumer.WithInstance(a.text("as")),
		consumer.WithConsumeFromWhere(fromWhere(a)),
		consumer.WithConsumerOrder(orderly),
		// The client keeps to itself which queues it has; its strategy is where they can be seen.
		consumer.WithStrategy(func(group, me string, queues []*primitive.MessageQueue, all []string) []*primitive.MessageQueue {
			mine := strategy(group, me, queues, all)
			if len(queues) > 0 {
				p.mutex.Lock()
				p.assigned[queues[0].Topic] = mine
				p.mutex.Unlock()
			}
			return mine
		}),
	}
	if a.textOr("model", "cluster") == "broadcast" {
		options = append(options, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	if a.has("timestamp") {
		options = append(options, consumer.WithConsumeTimestamp(a.text("timestamp")))
	}
	if a.has("batch") {
		options = append(options, consumer.WithConsumeMessageBatchMaxSize(int(a.number("batch", 1))))
	}
	if a.has("pull_batch") {
		options = append(options, consumer.WithPullBatchSize(int32(a.number("pull_batch", 32))))
	}
	if a.has("max_reconsume") {
		options = append(options, consumer.WithMaxReconsumeTimes(int32(a.number("max_reconsume", 16))))
	}
	if a.has("suspend_millis") {
		options = append(options, consumer.WithSuspendCurrentQueueTimeMillis(time.Duration(a.number("suspend_millis", 1000))*time.Millisecond))
	}
	p.client, err = rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	take := func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if p.take(messages) {
			return consumer.ConsumeSuccess, nil
		}
		if orderly {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		if context, found := primitive.GetConcurrentlyCtx(ctx); found && p.failing.has("level") {
			context.DelayLevelWhenNextConsume = int(p.failing.number("level", 0))
		}
		return consumer.ConsumeRetryLater, nil
	}
	topics := a.list("topics")
	if a.has("topic") {
		topics = append(topics, map[string]interface{}{"topic": a.text("topic"), "expr": a.textOr("expr", "*")})
	}
	for _, one := range topics {
		subscription := args(one.(map[string]interface{}))
		tags := consumer.MessageSelector{Type: consumer.TAG, Expression: subscription.textOr("expr", "*")}
		if err := p.client.Subscribe(subscription.text("topic"), tags, take); err != nil {
			return nil, err
		}
	}
	if err := p.client.Start(); err != nil {
		return nil, err
	}
	handles.Store(a.text("as"), p)
	return nil, nil
}

// Whether all of these were taken. `overlap` tells that the queue was being consumed by another goroutine as well.
func (p *pushHandle) take(messages []*primitive.MessageExt) bool {
	fine := true
	queue := messages[0].Queue.String()
	p.mutex.Lock()
	p.busy[queue]++
	overlap := p.busy[queue] > 1
	for _, m := range messages {
		one := got(m)
		fails := p.fails(m)
		one["taken"], one["overlap"], one["batch"] = !fails, overlap, len(messages)
		p.list = append(p.list, one)
		fine = fine && !fails
	}
	p.mutex.Unlock()
	time.Sleep(p.slow)
	p.mutex.Lock()
	p.busy[queue]--
	p.mutex.Unlock()
	return fine
}

func (p *pushHandle) fails(m *primitive.MessageExt) bool {
	if p.failing == nil {
		return false
	}
	if p.failing.has("bodies") {
		listed := false
		for _, body := range p.failing.list("bodies") {
			listed = listed || body == string(m.Body)
		}
		if !listed {
			return false
		}
	}
	return int64(m.ReconsumeTimes) < p.failing.number("times", math.MaxInt32)
}

func strategyOf(a args) (consumer.AllocateStrategy, error) {
	switch a.textOr("strategy", "averagely") {
	case "averagely":
		return consumer.AllocateByAveragely, nil
	case "circle":
		return consumer.AllocateByAveragelyCircle, nil
	case "machine_room_nearby":
		return consumer.AllocateByMachineNearby, nil
	case "consistent_hash":
		return consumer.AllocateByConsistentHash(10), nil
	case "machine_room":
		rooms := []string{}
		for _, room := range a.list("rooms") {
			rooms = append(rooms, room.(string))
		}
		return consumer.AllocateByMachineRoom(rooms), nil
	case "config":
		queues := []*primitive.MessageQueue{}
		for _, id := range a.list("config") {
			queues = append(queues, &primitive.MessageQueue{Topic: a.text("topic"), BrokerName: a.text("broker"), QueueId: int(args{"id": id}.number("id", 0))})
		}
		return consumer.AllocateByConfig(queues), nil
	}
	return nil, fmt.Errorf("unknown strategy %s", a.text("strategy"))
}

func startPull(a args) (interface{}, error) {
	client, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer(primitive.NamesrvAddr{a.text("namesrv")}),
		consumer.WithGroupName(a.text("group")),
		consumer.WithInstance(a.text("as")),
		consumer.WithConsumeFromWhere(fromWhere(a)),
		consumer.WithPullBatchSize(int32(a.number("pull_batch", 32))),
	)
	if err != nil {
		return nil, err
	}
	tags := consumer.MessageSelector{Type: consumer.TAG, Expression: a.textOr("expr", "*")}
	if err := client.Subscribe(a.text("topic"), tags); err != nil {
		return nil, err
	}
	if err := client.Start(); err != nil {
		return nil, err
	}
	handles.Store(a.text("as"), &pullHandle{client: client})
	return nil, nil
}

func queueOf(a args) *primitive.MessageQueue {
	return &primitive.MessageQueue{Topic: a.text("topic"), BrokerName: a.textOr("broker", "broker-a"), QueueId: int(a.number("queue", 0))}
}

func pull(a args) (interface{}, error) {
	r, err := named[*pullHandle](a).client.PullFrom(context.Background(), queueOf(a), a.number("offset", 0), int(a.number("max", 32)))
	if err != nil {
		return nil, err
	}
	statuses := map[primitive.PullStatus]string{
		primitive.PullFound: "FOUND", primitive.PullNoNewMsg: "NO_NEW_MSG", primitive.PullNoMsgMatched: "NO_MATCHED_MSG",
		primitive.PullOffsetIllegal: "OFFSET_ILLEGAL", primitive.PullBrokerTimeout: "BROKER_TIMEOUT",
	}
	messages := []interface{}{}
	for _, m := range r.GetMessageExts() {
		messages = append(messages, got(m))
	}
	return map[string]interface{}{
		"status": statuses[r.Status], "next": r.NextBeginOffset, "min": r.MinOffset, "max": r.MaxOffset, "messages": messages,
	}, nil
}
