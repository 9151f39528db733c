-- change: give a job that has not started another priority, or a delayed one another time.
--
-- uses  ledger append finish
-- ARGV  id        str  job
--       priority  str  high, normal or low; empty: as it is
--       due_ms    int  when a delayed job becomes runnable, 0: now; -1: as it is
-- Returns changed, unknown, misplaced (its entry is not where it belongs; the sweeper mends that), or
-- the state that forbids it. A waiting job keeps its age and goes to the end of its new lane.
local CHANGEABLE = { waiting = true, delayed = true, blocked = true }
local due = tonumber(due_ms)
local job = read_job(id)
if not job then return 'unknown' end
if not CHANGEABLE[job.state] or (due >= 0 and job.state ~= 'delayed') then return job.state end

-- The age base of its entry; nil where that has been delivered, or is gone.
local function undelivered_base()
  local stream = stream_ .. job.lane
  if redis.call('EXISTS', stream) == 0 then return nil end
  local found = redis.call('XRANGE', stream, job.entry, job.entry)[1]
  if not found or found[2][2] ~= id then return nil end
  local after = '(' .. last_delivered(stream)
  return redis.call('XRANGE', stream, after, job.entry, 'COUNT', 1)[1] and found[2][4]
end

local class, app, was, processor, model = lane_parts(job.lane)
if priority ~= '' and priority ~= was then
  local from, key = job.lane, job_ .. id
  local base = job.state == 'waiting' and undelivered_base()
  if job.state == 'waiting' and not base then return 'misplaced' end
  job.lane = table.concat({ class, app, priority, processor, model }, ':')
  redis.call('HSET', key, 'lane', job.lane)
  if base then
    redis.call('XDEL', stream_ .. from, job.entry)
    reseat(from, undelivered(from, 1)[1])
    drop_if_empty(from)
    redis.call('HSET', key, 'entry', append(id, job.lane, base))
  end
  event('changed', id, job.lane, job.state, job.attempt or 0, 'priority=' .. was)
end

if due >= 0 then
  redis.call('HSET', job_ .. id, 'due', due > now and due or now_text)
  if due <= now then
    promote(id, class)
    job.state = 'waiting'
  else
    redis.call('ZADD', due_ .. class, due, id)
    if redis.call('ZRANGE', due_ .. class, 0, 0)[1] == id then ring(class) end
  end
  event('changed', id, job.lane, job.state, job.attempt or 0, 'due=' .. due_ms)
end
close()
return 'changed'
