-- refuse: make a job that has ended before it began, since it was accepted and cannot run.
--
-- uses  ledger append finish flow
-- KEYS  apps  SET  apps that ever submitted
-- ARGV  code     str  why, a stable word
--       message  str  and a sentence
--       id       str  job
--       lane     str
--       payload  str  kept with the job, so that it can be replayed
--       limits   str
--       callback str
--       tags     str
--       trace    str
--       digest   str
-- Returns 1, or 0 for an id that exists, which is left alone.
if redis.call('EXISTS', job_ .. id) == 1 then return 0 end
local class, app = lane_parts(lane)
redis.call('SET', payload_ .. id, payload)
redis.call('HSET', job_ .. id, 'lane', lane, 'at', now_text, 'size', #payload)
for name, value in pairs({ limits = limits, callback = callback, tags = tags, trace = trace, digest = digest }) do
  if value ~= '' then redis.call('HSET', job_ .. id, name, value) end
end
redis.call('SADD', apps, app)
tally('submitted', lane)
finish({ id = id, lane = lane, class = class, app = app, callback = callback ~= '' and callback or nil },
  'cancelled', code, message)
close()
return 1
