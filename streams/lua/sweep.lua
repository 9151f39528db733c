-- sweep: mend what no other script sees, one page of one lane's pending entries, and end what
-- waits for a reclaim that may never come: the slow auditor behind the lease set.
--
-- uses  ledger append finish flow
-- ARGV  lane   str  the lane to look through
--       start  str  where the last page ended, - at first
--       count  int  pending entries to look at
-- Returns {mended, start of the next page or -}. Mended are pending entries without a lease (they
-- become dispatchable), entries of waiting jobs that somebody read by hand (appended anew), entries
-- that are no job's place (dropped), and expired leases whose job was cancelled or died too often
-- (ended, also while the class is paused). A lane's group and seat are made right on the way.
local stream, mended = stream_ .. lane, 0
if redis.call('EXISTS', stream) == 0 then return { 0, '-' } end
last_delivered(stream) -- makes a missing group anew
local pending = redis.call('XPENDING', stream, 'workers', start == '-' and '-' or '(' .. start, '+', count)

for _, row in ipairs(pending) do
  local entry = row[1]
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  local job = found and read_job(found[2][2])
  if not job or job.state ~= 'active' or job.entry ~= entry or job.lane ~= lane then
    if job and job.state == 'waiting' and job.entry == entry and job.lane == lane then
      redis.call('HSET', job_ .. job.id, 'entry', append(job.id, lane))
    end
    redis.call('XACK', stream, 'workers', entry)
    redis.call('XDEL', stream, entry)
    mended = mended + 1
  else
    local deadline = redis.call('ZSCORE', leases_ .. job.pool, lane .. '|' .. entry)
    if not deadline then
      redis.call('ZADD', leases_ .. job.pool, now, lane .. '|' .. entry)
      mended = mended + 1
    elseif tonumber(deadline) <= late_by(job.class) then
      local died = string.sub(job.token or '-', 1, 1) ~= '-'
      if job.cancel or (died and (job.crashes or 0) + 1 >= crashes_max) then
        end_if_lost(job)
        mended = mended + 1
      end
    end
  end
end
close()
if redis.call('EXISTS', stream) == 1 then
  reseat(lane, undelivered(lane, 1)[1])
  drop_if_empty(lane)
end
return { mended, #pending == tonumber(count) and pending[#pending][1] or '-' }
