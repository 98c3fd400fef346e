// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** Producers, the ways to send, and the look-ups that every client offers (MQAdmin). */
public final class Producers {
    static class Producer implements Agent.Handle, Queues.Lookup {
        final DefaultMQProducer client;

        Producer(DefaultMQProducer client) {
            this.client = client;
        }

        @Override public void close() {
            client.shutdown();
        }

        @Override public List<MessageQueue> queues(String topic) throws Exception {
            return client.fetchPublishMessageQueues(topic);
        }

        @Override public org.apache.rocketmq.client.MQAdmin admin() {
            return client;
        }
    }

    public static void register() {
        Agent.OPS.put("producer", Producers::start);
        Agent.OPS.put("send", Producers::send);
        Agent.OPS.put("create_topic", Producers::createTopic);
        Agent.OPS.put("view", Producers::view);
        Agent.OPS.put("query", Producers::query);
        Queues.register();
        Transactions.register();
    }

    private static Object start(Args a) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer(a.text("group"));
        configure(p, a);
        p.start();
        Agent.HANDLES.put(a.text("as"), new Producer(p));
        return null;
    }

    static void configure(DefaultMQProducer p, Args a) {
        p.setNamesrvAddr(a.text("namesrv"));
        p.setInstanceName(a.text("as"));
        p.setSendMsgTimeout(a.integer("timeout", 10_000));
        if (a.has("retries")) p.setRetryTimesWhenSendFailed(a.integer("retries", 2));
        if (a.has("queues")) p.setDefaultTopicQueueNums(a.integer("queues", 4));
        if (a.has("compress_over")) p.setCompressMsgBodyOverHowmuch(a.integer("compress_over", 4096));
        if (a.has("max_size")) p.setMaxMessageSize(a.integer("max_size", 4 << 20));
        if (a.has("route_poll")) p.setPollNameServerInterval(a.integer("route_poll", 30_000));
        if (a.has("heartbeat")) p.setHeartbeatBrokerInterval(a.integer("heartbeat", 30_000));
    }

    private static Object send(Args a) throws Exception {
        Producer producer = Agent.handle(a, Producer.class);
        DefaultMQProducer p = producer.client;
        long timeout = a.number("timeout", 10_000);
        List<Args> wanted = new ArrayList<>();
        for (Object one : a.list("messages")) wanted.add(Args.of(one));
        List<Object> results = new ArrayList<>(Collections.nCopies(wanted.size(), null));
        switch (a.text("mode", "sync")) {
            case "batch": {
                List<Message> batch = new ArrayList<>();
                for (Args one : wanted) batch.add(Messages.toSend(one));
                List<Object> single = new ArrayList<>();
                single.add(attempt(() -> Messages.sent(p.send(batch, timeout))));
                return single;
            }
            case "async": {
                CountDownLatch left = new CountDownLatch(wanted.size());
                for (int i = 0; i < wanted.size(); i++) {
                    int index = i;
                    SendCallback callback = new SendCallback() {
                        @Override public void onSuccess(SendResult result) {
                            results.set(index, Messages.sent(result));
                            left.countDown();
                        }

                        @Override public void onException(Throwable error) {
                            results.set(index, Collections.singletonMap("error", Errors.describe(error)));
                            left.countDown();
                        }
                    };
                    Args one = wanted.get(i);
                    if (one.has("shard")) p.send(Messages.toSend(one), new SelectMessageQueueByHash(), one.text("shard"), callback, timeout);
                    else if (one.has("queue")) p.send(Messages.toSend(one), queue(p, one), callback, timeout);
                    else p.send(Messages.toSend(one), callback, timeout);
                }
                if (!left.await(60, TimeUnit.SECONDS)) throw new IllegalStateException(left.getCount() + " callbacks never came");
                return results;
            }
            case "oneway":
                for (Args one : wanted) {
                    if (one.has("shard")) p.sendOneway(Messages.toSend(one), new SelectMessageQueueByHash(), one.text("shard"));
                    else if (one.has("queue")) p.sendOneway(Messages.toSend(one), queue(p, one));
                    else p.sendOneway(Messages.toSend(one));
                }
                return Collections.emptyList();
            case "sync":
                for (int i = 0; i < wanted.size(); i++) {
                    Args one = wanted.get(i);
                    results.set(i, attempt(() -> {
                        if (one.has("shard")) return Messages.sent(p.send(Messages.toSend(one), new SelectMessageQueueByHash(), one.text("shard"), timeout));
                        if (one.has("queue")) return Messages.sent(p.send(Messages.toSend(one), queue(p, one), timeout));
                        return Messages.sent(p.send(Messages.toSend(one), timeout));
                    }));
                }
                return results;
            case "transaction":
                for (int i = 0; i < wanted.size(); i++) {
                    Args one = wanted.get(i);
                    results.set(i, attempt(() -> Transactions.send(producer, Messages.toSend(one))));
                }
                return results;
            default:
                throw new IllegalArgumentException("unknown mode " + a.text("mode"));
        }
    }

    private interface Sending {
        Map<String, Object> run() throws Exception;
    }

    private static Map<String, Object> attempt(Sending sending) {
        try {
            return sending.run();
        } catch (Throwable error) {
            return Collections.singletonMap("error", Errors.describe(error));
        }
    }

    private static MessageQueue queue(DefaultMQProducer p, Args one) throws Exception {
        for (MessageQueue q : p.fetchPublishMessageQueues(one.text("topic"))) if (q.getQueueId() == one.number("queue")) return q;
        throw new IllegalArgumentException("no queue " + one.number("queue"));
    }

    private static Object createTopic(Args a) throws Exception {
        Version.createTopic(Agent.handle(a, Producer.class).client, a.text("key", "TBW102"), a.text("topic"), a.integer("queues", 4));
        return null;
    }

    private static Object view(Args a) throws Exception {
        DefaultMQProducer p = Agent.handle(a, Producer.class).client;
        return Messages.got(p.viewMessage(a.text("topic"), a.text("id")));
    }

    private static Object query(Args a) throws Exception {
        QueryResult found = Agent.handle(a, Producer.class).client.queryMessage(
            a.text("topic"), a.text("key"), a.integer("max", 32), a.number("begin", 0), a.number("end", Long.MAX_VALUE));
        return Messages.got(found.getMessageList());
    }
}
