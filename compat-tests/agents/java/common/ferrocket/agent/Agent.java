// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * The control socket: one JSON object per line in each direction, `{"id":1,"op":"send","args":{..}}` answered by
 * `{"id":1,"ok":..}` or `{"id":1,"error":{..}}`. Requests run side by side, so a long one holds up no other.
 */
public final class Agent {
    interface Op {
        Object run(Args args) throws Throwable;
    }

    /** A started client, known by the name that the scenario gave it. */
    interface Handle {
        void close() throws Exception;
    }

    static final Map<String, Op> OPS = new ConcurrentHashMap<>();
    static final Map<String, Handle> HANDLES = new ConcurrentHashMap<>();
    private static final PrintStream CONSOLE = System.out;

    public static void main(String[] args) throws Exception {
        for (String name : args) Class.forName("ferrocket.agent." + name).getMethod("register").invoke(null);
        OPS.put("close", Agent::close);
        OPS.put("close_all", Agent::closeAll);
        OPS.put("ops", a -> new java.util.TreeSet<>(OPS.keySet()));
        ExecutorService pool = Executors.newCachedThreadPool();
        try (ServerSocket listener = new ServerSocket(7070)) {
            CONSOLE.println("agent ready");
            while (true) {
                Socket socket = listener.accept();
                socket.setTcpNoDelay(true);
                pool.execute(() -> serve(socket, pool));
            }
        }
    }

    private static void serve(Socket socket, ExecutorService pool) {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
             BufferedWriter out = new BufferedWriter(new OutputStreamWriter(socket.getOutputStream(), StandardCharsets.UTF_8))) {
            String line;
            while ((line = in.readLine()) != null) {
                Args request = Args.of(Json.read(line));
                pool.execute(() -> answer(request, out));
            }
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    private static void answer(Args request, BufferedWriter out) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("id", request.number("id"));
        try {
            Op op = OPS.get(request.text("op"));
            if (op == null) throw new IllegalArgumentException("unknown op " + request.text("op"));
            answer.put("ok", op.run(request.object("args")));
        } catch (Throwable e) {
            answer.put("error", Errors.describe(e));
        }
        try {
            synchronized (out) {
                out.write(Json.write(answer));
                out.write('\n');
                out.flush();
            }
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    @SuppressWarnings("unchecked")
    static <T> T handle(Args args, Class<T> type) {
        Handle handle = HANDLES.get(args.text("by"));
        if (!type.isInstance(handle)) throw new IllegalArgumentException("no " + type.getSimpleName() + " named " + args.text("by"));
        return (T) handle;
    }

    private static Object close(Args args) throws Exception {
        Handle handle = HANDLES.remove(args.text("by"));
        if (handle == null) throw new IllegalArgumentException("nothing named " + args.text("by"));
        handle.close();
        return null;
    }

    private static Object closeAll(Args args) {
        int closed = 0;
        for (String name : HANDLES.keySet()) {
            if (!name.startsWith(args.text("prefix"))) continue;
            Handle handle = HANDLES.remove(name);
            if (handle == null) continue;
            try {
                handle.close();
                closed++;
            } catch (Throwable e) {
                e.printStackTrace();
            }
        }
        return closed;
    }
}
