// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Request-reply (since 4.6.0): a producer that asks, and a consumer that answers. */
public final class Requests {
    /** Answers each message with `re: ` and its body, except those whose body is `silence`. */
    static final class Responder implements Agent.Handle {
        final DefaultMQPushConsumer consumer;
        final DefaultMQProducer producer;

        Responder(DefaultMQPushConsumer consumer, DefaultMQProducer producer) {
            this.consumer = consumer;
            this.producer = producer;
        }

        @Override public void close() {
            consumer.shutdown();
            producer.shutdown();
        }
    }

    public static void register() {
        Agent.OPS.put("responder", Requests::responder);
        Agent.OPS.put("request", Requests::request);
    }

    private static Object responder(Args a) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(a.text("group") + "-replies");
        Producers.configure(producer, a);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(a.text("group"));
        consumer.setNamesrvAddr(a.text("namesrv"));
        consumer.setInstanceName(a.text("as"));
        consumer.setConsumeFromWhere(PushConsumers.from("first"));
        consumer.subscribe(a.text("topic"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            try {
                for (MessageExt m : messages) {
                    String body = new String(m.getBody(), StandardCharsets.UTF_8);
                    if (body.equals("silence")) continue;
                    producer.send(MessageUtil.createReplyMessage(m, ("re: " + body).getBytes(StandardCharsets.UTF_8)), 10_000);
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            } catch (Exception e) {
                e.printStackTrace();
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
        });
        producer.start();
        consumer.start();
        Agent.HANDLES.put(a.text("as"), new Responder(consumer, producer));
        return null;
    }

    /** The replies in the order of the questions; `error` where none came in time. */
    private static Object request(Args a) throws Exception {
        DefaultMQProducer p = Agent.handle(a, Producers.Producer.class).client;
        long timeout = a.number("timeout", 10_000);
        boolean async = a.text("mode", "sync").equals("async");
        List<Object> replies = new ArrayList<>();
        for (Object one : a.list("messages")) {
            Message question = Messages.toSend(Args.of(one));
            try {
                Message reply = async ? asked(p, question, timeout).get(60, TimeUnit.SECONDS) : p.request(question, timeout);
                Map<String, Object> got = new java.util.LinkedHashMap<>();
                got.put("body", new String(reply.getBody(), StandardCharsets.UTF_8));
                got.put("topic", reply.getTopic());
                got.put("props", reply.getProperties());
                replies.add(got);
            } catch (Exception e) {
                Throwable why = e instanceof java.util.concurrent.ExecutionException ? e.getCause() : e;
                replies.add(Collections.singletonMap("error", Errors.describe(why)));
            }
        }
        return replies;
    }

    /** To a queue of the application's choice: with a callback 5.3.3 knows only this form. */
    private static CompletableFuture<Message> asked(DefaultMQProducer p, Message question, long timeout) throws Exception {
        CompletableFuture<Message> reply = new CompletableFuture<>();
        MessageQueue queue = p.fetchPublishMessageQueues(question.getTopic()).get(0);
        p.request(question, queue, new RequestCallback() {
            @Override public void onSuccess(Message message) {
                reply.complete(message);
            }

            @Override public void onException(Throwable error) {
                reply.completeExceptionally(error);
            }
        }, timeout);
        return reply;
    }
}
