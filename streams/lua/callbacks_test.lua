-- callbacks_test: record a callback of no job, for an endpoint's owner to see whether it arrives.
--
-- uses  ledger append
-- KEYS  callback_        HASH  by callback
--       callback_counts  HASH  recorded, waiting, delivered, dead
-- ARGV  id        str  callback
--       endpoint  str  where to
--       app       str  whose
--       url       str  the endpoint's own
-- Returns 1, or 0 when there is a callback of that id already.
local key = callback_ .. id
if redis.call('EXISTS', key) == 1 then return 0 end
redis.call('HSET', key, 'test', '1', 'job', '', 'app', app, 'processor', '', 'state', 'succeeded',
  'attempt', 0, 'at', now_text, 'start', 0, 'end', now_text, 'code', '', 'error', '', 'size', 0,
  'result', '', 'url', url, 'endpoint', endpoint, 'sequence', 1, 'tags', '', 'trace', '',
  'status', 'waiting', 'tries', 0)
enlist(endpoint, id)
redis.call('HINCRBY', callback_counts, 'recorded', 1)
redis.call('HINCRBY', callback_counts, 'waiting', 1)
return 1
