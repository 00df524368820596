-- The argument behind wrk's own `--` is the number of bytes to POST, if any. The last line of output is the result (JSON).

function init(arguments)
   if arguments[1] then
      wrk.method = "POST"
      wrk.body = string.rep("x", tonumber(arguments[1]))
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "duration_us": %d, "received_bytes": %d, "statuses": %d, "sockets": %d, "timeouts": %d, ' ..
      '"p50_us": %d, "p99_us": %d, "max_us": %d}\n',
      summary.requests, summary.duration, summary.bytes, errors.status, errors.connect + errors.read + errors.write,
      errors.timeout, latency:percentile(50), latency:percentile(99), latency.max))
end
