-- drop_consumer: forget a worker's consumer in the lanes where nothing is pending under it.
--
-- uses  ledger append
-- KEYS  calls_   STRING  by worker:pool
-- ARGV  worker   str  consumer
--       class    str  resource class
--       pool     str  its pool there
-- Returns how many lanes still hold pending entries of it. Redis would drop those with it.
local held = 0
for _, lane in ipairs(redis.call('SMEMBERS', streams_ .. class)) do
  local stream = stream_ .. lane
  if redis.call('EXISTS', stream) == 1 then
    last_delivered(stream)
    if #redis.call('XPENDING', stream, 'workers', '-', '+', 1, worker) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', worker)
    else
      held = held + 1
    end
  end
end
if held == 0 then redis.call('DEL', calls_ .. worker .. ':' .. pool) end
return held
