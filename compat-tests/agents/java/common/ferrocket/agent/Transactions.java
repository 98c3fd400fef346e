// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Transaction producers. Each message says itself how its local transaction ends (user property `local`) and what the check-back
 * is told, the first time, the second time and so on (`check`, words divided by blanks, the last one for good):
 * commit, rollback, unknown, throw.
 */
public final class Transactions {
    static final class TransactionProducer extends Producers.Producer {
        final TransactionMQProducer transactions;
        final Decisions decisions;

        TransactionProducer(TransactionMQProducer client, Decisions decisions) {
            super(client);
            this.transactions = client;
            this.decisions = decisions;
        }
    }

    static final class Decisions implements TransactionListener {
        private final List<Object> checks = new ArrayList<>();
        private final Map<String, Integer> asked = new HashMap<>();

        @Override public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return decide(message.getUserProperty("local"));
        }

        @Override public LocalTransactionState checkLocalTransaction(MessageExt message) {
            String[] words = message.getUserProperty("check").split(" ");
            String word;
            synchronized (this) {
                int times = asked.merge(message.getTransactionId(), 1, Integer::sum);
                word = words[Math.min(times, words.length) - 1];
                Map<String, Object> one = Messages.got(message);
                one.put("transactionId", message.getTransactionId());
                one.put("decided", word);
                checks.add(one);
            }
            return decide(word);
        }

        synchronized List<Object> checks() {
            return new ArrayList<>(checks);
        }

        private static LocalTransactionState decide(String word) {
            switch (word) {
                case "commit":
                    return LocalTransactionState.COMMIT_MESSAGE;
                case "rollback":
                    return LocalTransactionState.ROLLBACK_MESSAGE;
                case "unknown":
                    return LocalTransactionState.UNKNOW;
                case "throw":
                    throw new IllegalStateException("the local transaction throws, as it was told to");
                default:
                    throw new IllegalArgumentException("no decision " + word);
            }
        }
    }

    public static void register() {
        Agent.OPS.put("transaction_producer", Transactions::start);
        Agent.OPS.put("checks", a -> Agent.handle(a, TransactionProducer.class).decisions.checks());
        Agent.OPS.put("kill", Transactions::kill);
    }

    private static Object start(Args a) throws Exception {
        Decisions decisions = new Decisions();
        TransactionMQProducer p = new TransactionMQProducer(a.text("group"));
        p.setTransactionListener(decisions);
        Producers.configure(p, a);
        p.start();
        Agent.HANDLES.put(a.text("as"), new TransactionProducer(p, decisions));
        return null;
    }

    static Map<String, Object> send(Producers.Producer p, Message message) throws Exception {
        if (!(p instanceof TransactionProducer)) throw new IllegalArgumentException("not a transaction producer");
        TransactionSendResult result = ((TransactionProducer) p).transactions.sendMessageInTransaction(message, null);
        Map<String, Object> out = Messages.sent(result);
        out.put("transactionId", result.getTransactionId());
        out.put("local", result.getLocalTransactionState().name());
        return out;
    }

    /** What the server sees of a killed process: its connections end without a word. */
    private static Object kill(Args a) {
        TransactionProducer p = Agent.handle(a, TransactionProducer.class);
        Agent.HANDLES.remove(a.text("by"));
        p.transactions.getDefaultMQProducerImpl().getmQClientFactory().getMQClientAPIImpl().shutdown();
        return null;
    }
}
