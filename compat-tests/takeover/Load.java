// SPDX-License-Identifier: Apache-2.0
// Live applications while a broker is taken over: producers that send in order, delayed and in transactions, and a push consumer, each with
// the client as it is. Started from source on the jars of one version; a line per thing that was acknowledged or consumed.
// usage: Load NAME_SERVERS SECONDS

import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

public class Load {
    static final String TOPIC = "Moved";
    static final AtomicBoolean OVER = new AtomicBoolean();

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    interface Send {
        SendResult send(String body) throws Exception;
    }

    /** One after the other; what was not acknowledged is sent again, as an application would. */
    static Thread sender(String kind, int pauseMillis, Send send) {
        Thread thread = new Thread(() -> {
            for (int number = 0; !OVER.get(); number++) {
                String body = kind + " " + number;
                long since = System.currentTimeMillis();
                while (true) {
                    try {
                        SendResult result = send.send(body);
                        if (result.getSendStatus() == SendStatus.SEND_OK) {
                            break;
                        }
                        say("failed " + body + " " + result.getSendStatus());
                    } catch (Exception error) {
                        say("failed " + body + " " + String.valueOf(error.getMessage()).replace('\n', ' '));
                    }
                    pause(50);
                }
                say("acked " + body + " " + (System.currentTimeMillis() - since));
                pause(pauseMillis);
            }
        });
        thread.start();
        return thread;
    }

    static void pause(int millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    public static void main(String[] args) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("MovedProducers");
        producer.setNamesrvAddr(args[0]);
        producer.start();
        TransactionMQProducer transactions = new TransactionMQProducer("MovedTransactions");
        transactions.setNamesrvAddr(args[0]);
        // Every third is left open until the broker asks.
        transactions.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object number) {
                return (Integer) number % 3 == 0 ? LocalTransactionState.UNKNOW : LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        transactions.start();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("MovedConsumers");
        consumer.setNamesrvAddr(args[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(TOPIC, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt message : messages) {
                say("consumed " + new String(message.getBody()));
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        List<Thread> senders = List.of(
            sender("ordered", 5, body -> producer.send(new Message(TOPIC, body.getBytes()), (queues, message, key) ->
                queues.stream().filter(queue -> queue.getQueueId() == 0).findFirst().get(), null)),
            sender("sync", 5, body -> producer.send(new Message(TOPIC, body.getBytes()))),
            sender("delayed", 100, body -> {
                Message message = new Message(TOPIC, body.getBytes());
                message.setDelayTimeLevel(2);
                return producer.send(message);
            }),
            sender("transaction", 100, body -> transactions.sendMessageInTransaction(
                new Message(TOPIC, body.getBytes()), Integer.valueOf(body.split(" ")[1]))));
        say("started");
        pause(Integer.parseInt(args[1]) * 1000);
        OVER.set(true);
        for (Thread sender : senders) {
            sender.join();
        }
        say("sent");
        // What is delayed or open still comes.
        pause(30_000);
        say("over");
        System.exit(0);
    }
}
